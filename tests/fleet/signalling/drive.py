"""Asks the Python example what a test asks: a JSON line in, a JSON line out. Arguments: the example, URL, token, ID=FILE."""

import importlib.util
import json
import sys

path, url, token, secret = sys.argv[1:]
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("example", path)
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)
now = 0
fleet = example.Taciturn(url, token, [example.read_secret(secret)], clock=lambda: now)
for line in sys.stdin:
    asked = json.loads(line)
    now = asked["now"]
    try:
        answer = fleet.ice_servers(asked["user"]) if "user" in asked else fleet.poll() or {}
    except example.Refused as why:
        answer = {"error": str(why)}
    print(json.dumps(answer), flush=True)
