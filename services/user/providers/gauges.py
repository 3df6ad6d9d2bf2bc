"""What the service shows on its Prometheus page."""

from observability import names
from observability.metrics import gauge


class ActiveUsersGauge:
    """The gauge `active_users_total`."""

    def show(self, count: int) -> None:
        gauge(names.ACTIVE_USERS).set(count)
