"""The fleet controller against a cloud that other people simulate (moto).

What is asserted is that requests and answers are those of the API as botocore's model has it: groups, launches, ends, and
conditional writes to a bucket. How the service behaves beyond that is shown by the controller's own tests.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.request

import boto3
import pytest

import server as under_test

ROOT = pathlib.Path(__file__).resolve().parents[2]
REGION = "ap-southeast-2"
GROUP = "relays"
HOOK = "drain"
BUCKET = "fleet-control"
PATIENCE = 40


class Cloud:
    """A running moto with a group, a launch template and a bucket, and programs that are pointed at it."""

    def __init__(self, port: int, directory: pathlib.Path):
        self.url = f"http://127.0.0.1:{port}"
        self.directory = directory
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(directory / "no-config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(directory / "no-credentials"),
        }
        self.group_api = self.client("autoscaling")
        self.machine_api = self.client("ec2")
        self.bucket_api = self.client("s3")

    def client(self, name: str):
        """A client of boto3."""
        return boto3.client(
            name,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key="not-a-secret",
        )

    def forget(self) -> None:
        """Makes it as it was in the beginning."""
        request = urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    def zones(self) -> dict[str, str]:
        """Ids by name."""
        zones = self.machine_api.describe_availability_zones()["AvailabilityZones"]
        return {zone["ZoneName"]: zone["ZoneId"] for zone in zones}

    def make_group(self, machines: int, **changes) -> None:
        """A group that suits the default policy."""
        subnets = self.machine_api.describe_subnets()["Subnets"]
        image = self.machine_api.describe_images()["Images"][0]["ImageId"]
        data = {"ImageId": image, "InstanceType": "c7gn.large"}
        template = self.machine_api.create_launch_template(LaunchTemplateName="relay", LaunchTemplateData=data)
        settings = {
            "MinSize": 1,
            "MaxSize": 24,
            "DesiredCapacity": machines,
            "VPCZoneIdentifier": ",".join(subnet["SubnetId"] for subnet in subnets),
            "LaunchTemplate": {"LaunchTemplateId": template["LaunchTemplate"]["LaunchTemplateId"], "Version": "1"},
            "NewInstancesProtectedFromScaleIn": True,
            **changes,
        }
        self.group_api.create_auto_scaling_group(AutoScalingGroupName=GROUP, **settings)

    def group(self) -> dict:
        """The group as it is now."""
        return self.group_api.describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])["AutoScalingGroups"][0]

    def machines(self) -> set[str]:
        """The ids of its instances."""
        return {machine["InstanceId"] for machine in self.group()["Instances"]}

    def config(self, launch: str = "automatic", more: str = "") -> pathlib.Path:
        """A controller's configuration for this group."""
        state = self.directory / "state"
        state.mkdir(exist_ok=True)
        zones = "\n".join(f'{name} = "{zone}"' for name, zone in self.zones().items())
        (port,) = under_test.free_ports(1)
        file = self.directory / "controller.toml"
        file.write_text(
            f"""
fleet = "interop"
state-directory = "{state}"
interval = "1s"
[api]
address = "127.0.0.1:{port}"
[sovereignty]
allowed-zone-ids = {json.dumps(sorted(self.zones().values()))}
[lease]
kind = "s3"
bucket = "{BUCKET}"
key = "fleet/lease.json"
region = "{REGION}"
[provider]
kind = "aws"
[provider.aws]
auto-scaling-group = "{GROUP}"
region = "{REGION}"
termination-hook = "{HOOK}"
launch = "{launch}"
address = "{{id}}.invalid"
[provider.aws.zone-ids]
{zones}
{more}
"""
        )
        return file

    def ask(self, config: pathlib.Path, *questions: str) -> list:
        """Answers of the provider or the lease, all by one process."""
        program = example()
        finished = subprocess.run(
            [program, config],
            input="".join(f"{question}\n" for question in questions),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert finished.returncode == 0, finished.stderr
        return [json.loads(line) for line in finished.stdout.splitlines()]

    def doctor(self, config: pathlib.Path) -> tuple[int, list[dict]]:
        """The exit code and the findings of `taciturn doctor`."""
        command = [under_test.binary(), "doctor", "--config", config, "--json"]
        finished = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE)
        assert finished.returncode in (0, 1), finished.stderr
        return finished.returncode, json.loads(finished.stdout)["findings"]


def example() -> pathlib.Path:
    """The example program that asks a provider; `cargo test` builds it."""
    for profile in ("debug", "release"):
        program = under_test.binary().parents[1] / profile / "examples" / "ask_provider"
        if program.exists():
            return program
    message = "not built: cargo build -p taciturn-controller --example ask_provider"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@contextlib.contextmanager
def started(directory: pathlib.Path, **environment: str):
    """A moto of this run, with more in its environment."""
    (port,) = under_test.free_ports(1)
    with (directory / "log").open("wb") as log:
        program = pathlib.Path(__file__).with_name("cloud.py")
        process = subprocess.Popen(
            [sys.executable, program, str(port)], stdout=log, stderr=log, env={**os.environ, **environment}
        )
    try:
        cloud = Cloud(port, directory)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                cloud.forget()
                break
            except OSError:
                assert process.poll() is None, (directory / "log").read_text()
                assert time.monotonic() < end, "moto does not answer"
                time.sleep(0.2)
        yield cloud
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A moto of this run."""
    with started(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture
def cloud(running):
    """The cloud as it was in the beginning, with a bucket."""
    running.forget()
    running.bucket_api.create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return running


def a_list_has_every_instance_with_its_zone_and_template(cloud):
    """The group as boto3 sees it is the group as the provider lists it."""
    cloud.make_group(machines=5)
    (listing,) = [answer["ok"] for answer in cloud.ask(cloud.config(), "list")]
    group = cloud.group()
    assert listing["complete"]
    assert {it["id"] for it in listing["instances"]} == cloud.machines()
    zones = cloud.zones()
    zone_of = {it["InstanceId"]: zones[it["AvailabilityZone"]] for it in group["Instances"]}
    assert {it["id"]: it["zone"] for it in listing["instances"]} == zone_of
    template = group["LaunchTemplate"]["LaunchTemplateId"]
    assert {it["image"] for it in listing["instances"]} == {f"{template}:1"}
    assert listing["group"]["image"] == f"{template}:1"
    assert (listing["group"]["min"], listing["group"]["max"], listing["group"]["desired"]) == (1, 24, 5)
    assert set(listing["group"]["zones"]) == set(zones.values())


def a_launch_is_one_launch_however_often_its_token_is_sent(cloud):
    """LaunchInstances by the model of the API: token, zone, and ids in the answer."""
    cloud.make_group(machines=1)
    before = cloud.machines()
    zone = sorted(cloud.zones().values())[0]
    question = f"launch {zone} 2 token-1"
    first, again = cloud.ask(cloud.config(), question, question)
    (elsewhere,) = cloud.ask(cloud.config(), question)
    assert first == again == elsewhere
    assert set(first["ok"]) == cloud.machines() - before
    assert len(cloud.machines()) == 3


def a_raised_capacity_happens_once_for_a_token(cloud):
    """SetDesiredCapacity, where the group is to choose the zones."""
    cloud.make_group(machines=2)
    config = cloud.config(launch="desired-capacity")
    zone = sorted(cloud.zones().values())[0]
    question = f"launch {zone} 2 token-1"
    answers = cloud.ask(config, "list", question, question, "list")
    assert cloud.group()["DesiredCapacity"] == 4
    assert len(answers[-1]["ok"]["instances"]) == 4
    assert len(answers[-1]["ok"]["launched"]["token-1"]) == 2


def an_instance_ends_by_its_id_and_once(cloud):
    """TerminateInstanceInAutoScalingGroup with one less desired; nobody else is touched."""
    cloud.make_group(machines=4)
    victim, *others = sorted(cloud.machines())
    first, again = cloud.ask(cloud.config(), f"terminate {victim}", f"terminate {victim}")
    assert (first["ok"], again["ok"]) == ("ending", "already")
    assert cloud.machines() == set(others)
    assert cloud.group()["DesiredCapacity"] == 3
    # A process that remembers nothing of it sees that it is gone.
    (elsewhere,) = cloud.ask(cloud.config(), f"terminate {victim}")
    assert elsewhere["ok"] == "already"
    assert cloud.group()["DesiredCapacity"] == 3


def a_hook_is_told_by_its_name_and_the_instance(cloud):
    """RecordLifecycleActionHeartbeat and CompleteLifecycleAction, accepted and refused."""
    cloud.make_group(machines=1)
    (machine,) = cloud.machines()
    extended, finished, late, done = cloud.ask(
        cloud.config(), f"extend {machine}", f"finish {machine}", "extend i-0", "finish i-0"
    )
    assert "ok" in extended and "ok" in finished
    assert "No active Lifecycle Action" in late["error"]
    assert "ok" in done, "nothing waits any more, which is what was wanted"


def a_group_that_is_not_there_is_an_error(cloud):
    """An answer without groups is no empty list."""
    (answer,) = cloud.ask(cloud.config(), "list")
    assert "there is no Auto Scaling group" in answer["error"]


def a_doctor_finds_what_is_wrong_and_nothing_more_once_it_is_mended(cloud):
    """The findings about a bare group, and their remedies as boto3 carries them out."""
    cloud.make_group(machines=1, NewInstancesProtectedFromScaleIn=False, MaxSize=5, HealthCheckType="ELB")
    cloud.group_api.put_scaling_policy(AutoScalingGroupName=GROUP, PolicyName="cpu", AdjustmentType="ChangeInCapacity", ScalingAdjustment=1)
    config = cloud.config()
    code, findings = cloud.doctor(config)
    remedies = " ".join(finding.get("remedy", "") for finding in findings)
    assert code == 1
    for wanted in (
        "--new-instances-protected-from-scale-in",
        "set-instance-protection",
        "--scaling-processes AZRebalance",
        "put-lifecycle-hook",
        "--max-size 24",
        "--health-check-type EC2",
        "--policy-name cpu",
    ):
        assert wanted in remedies, remedies
    name = {"AutoScalingGroupName": GROUP}
    cloud.group_api.update_auto_scaling_group(**name, NewInstancesProtectedFromScaleIn=True, MaxSize=24, HealthCheckType="EC2")
    cloud.group_api.set_instance_protection(**name, InstanceIds=sorted(cloud.machines()), ProtectedFromScaleIn=True)
    cloud.group_api.suspend_processes(**name, ScalingProcesses=["AZRebalance"])
    cloud.group_api.delete_policy(**name, PolicyName="cpu")
    cloud.group_api.put_lifecycle_hook(
        **name,
        LifecycleHookName=HOOK,
        LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING",
        HeartbeatTimeout=7200,
        DefaultResult="CONTINUE",
    )
    _, findings = cloud.doctor(config)
    bad = [finding for finding in findings if finding["verdict"] == "bad"]
    # No relay runs on a pretended machine.
    assert [finding["check"] for finding in bad] == ["relays"], bad
    lease = [finding for finding in findings if finding["check"] == "lease"]
    assert [finding["verdict"] for finding in lease] == ["good"], lease


def a_lease_has_one_winner_among_sixteen_processes(cloud):
    """If-None-Match and If-Match, each written by sixteen processes at once."""
    config = cloud.config()
    version = ""
    for round_number in range(2):
        writers = [
            subprocess.Popen(
                [example(), config], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=cloud.environment, text=True
            )
            for _ in range(16)
        ]
        # All of them are there before the first is told to write.
        for number, writer in enumerate(writers):
            writer.stdin.write(f"take writer-{round_number}-{number} {version}\n")
        for writer in writers:
            writer.stdin.flush()
        answers = [json.loads(writer.communicate(timeout=PATIENCE)[0]) for writer in writers]
        won = [answer["ok"] for answer in answers if "ok" in answer]
        lost = [answer["error"] for answer in answers if "error" in answer]
        assert len(won) == 1, answers
        assert lost == ["somebody else has written it"] * 15
        (version,) = won
        (seen,) = cloud.ask(config, "lease")
        assert seen["ok"]["version"] == version
        assert seen["ok"]["record"]["holder"].startswith(f"interop/writer-{round_number}-")


@pytest.mark.parametrize("dry", [True, False], ids=["dry-run", "for-real"])
def a_controller_launches_what_its_policy_needs(cloud, dry):
    """The daemon itself: two relays at least, in a group that has none. A dry run launches nothing."""
    cloud.make_group(machines=0, MinSize=0)
    config = cloud.config(more="[policy]\nmin = 2\nmax = 20\n")
    command = [under_test.binary(), "controller", "--config", config, *(["--dry-run"] if dry else [])]
    with (cloud.directory / "controller.log").open("wb") as log:
        process = subprocess.Popen(command, env=cloud.environment, stdout=log, stderr=log)
    try:
        end = time.monotonic() + PATIENCE
        log = cloud.directory / "controller.log"
        while time.monotonic() < end:
            assert process.poll() is None, log.read_text()
            if len(cloud.machines()) >= 2 or (dry and 'outcome="dry_run"' in log.read_text()):
                break
            time.sleep(0.5)
        else:
            pytest.fail(log.read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=PATIENCE)
    assert code == 0
    assert len(cloud.machines()) == (0 if dry else 2)
    assert cloud.group()["DesiredCapacity"] == (0 if dry else 2)
