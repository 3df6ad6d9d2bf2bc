"""Runs scenarios of the stock Triton client in its own environment, one process for all of them.

A line of JSON in names the scenario, the server and the headers; a line out is `null` or what failed.
"""

import json
import sys
import traceback

import tritonclient.grpc as triton

from tests.support.tritonclient_scenarios import SCENARIOS


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(_run(asked["scenario"], asked["address"], asked["headers"])), flush=True)


def _run(name: str, address: str, headers: dict[str, str]) -> str | None:
    scenario = SCENARIOS[name]
    more = {"address": address} if "address" in scenario.__code__.co_varnames else {}
    client = triton.InferenceServerClient(address)
    try:
        scenario(client, headers, **more)
    except Exception:  # noqa: BLE001 - the test says it
        return traceback.format_exc()
    finally:
        client.close()
    return None


if __name__ == "__main__":
    main()
