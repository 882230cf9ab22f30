"""Takes messages into custody: servers, clients and the publisher; maps nothing."""
