# One image for every part of Wardtrail: intake, workers, migration. See docker-compose.yml.

FROM python:3.11-slim AS wheel
WORKDIR /source
COPY requirements.txt requirements-dev.txt ./
RUN pip install --no-cache-dir --require-hashes -r requirements-dev.txt
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.11-slim
COPY requirements.txt /tmp/
RUN pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --no-deps /wheels/*.whl
# The usual first account of a host, so that a secret's file of that account can be read.
RUN useradd --uid 1000 --create-home wardtrail && install -d -o wardtrail /var/lib/wardtrail
USER wardtrail
ENV WARDTRAIL_HOME=/var/lib/wardtrail PYTHONUNBUFFERED=1
ENTRYPOINT ["wardtrail"]
CMD ["--help"]
