#!/usr/bin/env bash
# Third-party clients against a running relay: makes its own Python environment, names what is missing, runs the tests.
#
#   tests/interop/run.sh                             against target/release/taciturn, else target/debug/taciturn
#   TACITURN_BIN=path tests/interop/run.sh           against that binary
#   SERVER_UNDER_TEST=coturn tests/interop/run.sh    against turnserver: shows that clients and machine work
#   tests/interop/run.sh -k chromium                 arguments go to pytest
#   INTEROP_SCREENSHOTS=DIR tests/interop/run.sh     keeps the pictures of the demo page
#
# With CI=true everything has to run: a missing program or a skipped test fails the run.
set -euo pipefail
# Paths are the caller's, so they are resolved before the change of directory.
for name in TACITURN_BIN INTEROP_SCREENSHOTS INTEROP_VENV; do
  if [[ -n "${!name:-}" ]]; then export "$name=$(realpath --canonicalize-missing "${!name}")"; fi
done
cd "$(dirname "$0")"

environment=${INTEROP_VENV:-.venv}
wanted=$(sha256sum requirements.txt | cut -d' ' -f1)
if [[ "$(cat "$environment/requirements.sha256" 2>/dev/null)" != "$wanted" ]]; then
  echo "interop: making $environment"
  python3 -m venv --clear "$environment"
  "$environment/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt
  echo "$wanted" >"$environment/requirements.sha256"
fi

# program:Debian package:what cannot run without it
needed=(
  "turnutils_uclient:coturn:command-line clients"
  "turnutils_stunclient:coturn:the STUN client"
  "turnutils_peer:coturn:calls across address families"
  "chromium:chromium:browser calls and the demo page"
  "chromedriver:chromium-driver:browser calls and the demo page"
  "prometheus:prometheus:the dashboard and the alert rules against a real scrape"
  "promtool:prometheus:the alert rules' own cases"
  "ip:iproute2:the self-test page in a network of its own"
  "nft:nftables:the self-test page behind a firewall"
  "certutil:libnss3-tools:a browser that trusts the test authority"
)
[[ "${SERVER_UNDER_TEST:-taciturn}" == coturn ]] && needed+=("turnserver:coturn:everything")
missing=0
for entry in "${needed[@]}"; do
  IFS=: read -r program package what <<<"$entry"
  if ! command -v "$program" >/dev/null; then
    echo "interop: $program is not installed (package $package): cannot run $what" >&2
    missing=$((missing + 1))
  fi
done
if [[ "${CI:-}" == true && $missing -gt 0 ]]; then
  echo "interop: FAILED, as everything has to run here" >&2
  exit 1
fi

started=$SECONDS
status=0
PYTHONDONTWRITEBYTECODE=1 "$environment/bin/python" -m pytest "$@" || status=$?
if [[ $status -eq 0 ]]; then word=passed; else word=FAILED; fi
echo "interop: ${SERVER_UNDER_TEST:-taciturn} $word in $((SECONDS - started)) s, $missing programs missing"
exit "$status"
