"""Every question that HTTP takes: one table, which the router and OpenAPI come from."""

from ops import finding, posting, routes, work_routes

ROUTES = (*routes.ROUTES, *work_routes.ROUTES, posting.RESULT, *finding.ROUTES)
