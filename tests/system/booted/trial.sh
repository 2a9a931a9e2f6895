# What is tried under systemd. Prints facts, a line each: what the test compares. Not responsible for judging them.

fact() { printf 'fact: %s\n' "$*"; }
shown() { systemctl show --value -p "$1" taciturn.service; }
pid() { shown MainPID; }

python() { python3 - "$@" <<'PYTHON'
import ctypes, http.client, os, socket, sys, time

def stun(kind):
    connection = socket.socket(socket.AF_INET, kind)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", 443))
    connection.send(bytes.fromhex("000100002112a442") + os.urandom(12))
    return connection.recv(2048)[:2].hex()

class Admin(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/run/taciturn/admin.sock")

def admin(method, path, body=None):
    connection = Admin("localhost")
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    return f"{answer.status} {answer.read().decode().strip()}"

match sys.argv[1:]:
    case ["stun"]:
        print(*(stun(socket.SOCK_DGRAM) for _ in range(20)), stun(socket.SOCK_STREAM))
    case ["get", path]:
        print(admin("GET", path))
    case ["drain"]:
        order = f'{{"deadline": {int(time.time()) + 3600}, "reason": "trial", "epoch": 1}}'
        print(admin("POST", "/v1/drain", order))
    case ["undrain"]:
        print(admin("DELETE", "/v1/drain"))
    case ["hang", thread]:
        # PTRACE_SEIZE and PTRACE_INTERRUPT stop this one thread. Its end has to be waited for, or the process would not go.
        libc = ctypes.CDLL(None)
        libc.ptrace(0x4206, int(thread), None, None)
        libc.ptrace(0x4207, int(thread), None, None)
        while not os.WIFSIGNALED(os.waitpid(int(thread), 0x40000000)[1]):
            pass
PYTHON
}

systemctl start taciturn.socket
systemctl start taciturn.service
fact "start $?"
fact "status $(shown StatusText)"
fact "type $(shown Type)"
sed -n 's/^\(Cap[A-Z][a-z]*\|NoNewPrivs\|Seccomp\):\s*/fact: \1 /p' "/proc/$(pid)/status"
[ "$(stat -c %u "/proc/$(pid)")" -ge 60000 ] && fact 'a user of its own'
journalctl -u taciturn.service | sed -n 's/.* inherited .*\(transport=.*\)/fact: inherited \1/p'
fact "stun $(python stun)"
fact "admin $(python get /ready)"
fact "state $(stat -L -c '%a %U' /var/lib/taciturn)"
fact "runtime $(stat -c '%a %U' /run/taciturn)"

systemctl reload taciturn.service
fact "reload $? $(shown ActiveState)"

# A secret is changed as the documentation has it, in the place where the relay may read it, and nobody tells the relay.
# A figure of the relay that rises by itself is waited for.
metric() { python get /metrics | sed -n "s/^taciturn_relay_$1 //p"; }
risen() {
    for _ in $(seq 300); do
        [ "$(metric "$1")" != 0 ] && fact "risen $1" && break
        sleep 0.1
    done
}
taciturn credentials secret --out /etc/taciturn/next.key
chgrp taciturn-secrets /etc/taciturn/next.key
chmod 0640 /etc/taciturn/next.key
mv /etc/taciturn/next.key /etc/taciturn/secret.key
risen 'config_reloads_total{outcome="applied"}'
risen 'self_check_checks_total{outcome="success"}'

# An order to drain is in the state directory, which is another user's after a restart.
fact "drain $(python drain)"
systemctl restart taciturn.service
fact "after a restart $(python get /ready)"
fact "drain undone $(python undrain)"
fact "then $(python get /ready)"

# A worker that hangs.
mkdir -p /run/systemd/system/taciturn.service.d
printf '[Service]\nWatchdogSec=3s\n' >/run/systemd/system/taciturn.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart taciturn.service
before=$(pid)
for task in /proc/"$before"/task/*; do
    case $(cat "$task/comm") in worker-0) worker=${task##*/} ;; esac
done
python hang "$worker" >/dev/null &
debugger=$!
for _ in $(seq 300); do
    after=$(pid)
    [ "$after" != "$before" ] && [ "$after" != 0 ] && [ "$(shown ActiveState)" = active ] && break
    sleep 0.1
done
kill "$debugger" 2>/dev/null || true
[ "$after" != "$before" ] && fact 'a hung worker had the relay restarted'
journalctl -b -o cat | grep -q 'taciturn.service: Watchdog timeout' && fact 'by the watchdog'
fact "then $(python stun | cut -d' ' -f1)"

# Secrets as credentials.
printf '[Service]\nLoadCredential=secret.key:/etc/taciturn/secret.key\nSupplementaryGroups=\n' \
    >/run/systemd/system/taciturn.service.d/credentials.conf
chgrp root /etc/taciturn/secret.key
chmod 600 /etc/taciturn/secret.key
chmod 755 /etc/taciturn
sed -i 's#"secret.key"#"/run/credentials/taciturn.service/secret.key"#' /etc/taciturn/relay.toml
systemctl daemon-reload
systemctl restart taciturn.service
fact "credentials $?"

systemctl stop taciturn.socket taciturn.service
fact "stop $? $(shown Result) $(shown ActiveState)"
journalctl --no-pager -b
