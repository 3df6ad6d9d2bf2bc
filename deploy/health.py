"""Asks a process of the same container for its health: `python health.py URL`. Exit status 0 for 200, otherwise 1.

The certificate is not looked at: it names the process group, not 127.0.0.1, and who answers here is this container.
"""

import ssl
import sys
import urllib.request

_TIMEOUT_SECONDS = 2.5


def main(url: str) -> int:
    """Ask once."""
    if not url.startswith(("http://", "https://")):
        sys.stderr.write(f"{url} is no address\n")
        return 2
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS, context=context) as answer:  # noqa: S310 - looked at
            return 0 if answer.status == 200 else 1
    except OSError as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) if len(sys.argv) == 2 else 2)
