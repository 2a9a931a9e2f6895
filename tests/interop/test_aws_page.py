"""docs/aws.md as a stranger follows it: its commands in their order, by AWS's own command line, against a simulated AWS (moto).

What is asserted is that the commands exist, that what one makes is what the next one needs, that the files in them are what
this project's programs take, and that the permissions are those of the calls that are made. Not responsible for what AWS
itself would refuse.
"""

import base64
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

import boards
import server as under_test
from test_cloud import Cloud, started

# A process of the command line for each command, some eighty of them.
pytestmark = pytest.mark.timeout(400)

PAGE = (boards.ROOT / "docs" / "aws.md").read_text()
# As Debian's images are listed, under the number of Debian's account.
IMAGES = [
    {
        "ami_id": f"ami-0000000000000000{number}",
        "name": f"debian-12-arm64-2026{month}01-1",
        "description": "Debian 12",
        "owner_id": "136693071363",
        "public": True,
        "virtualization_type": "hvm",
        "architecture": "arm64",
        "state": "available",
        "platform": None,
        "image_type": "machine",
        "hypervisor": "xen",
        "root_device_name": "/dev/xvda",
        "root_device_type": "ebs",
        "sriov": "simple",
        "creation_date": f"2026-{month}-01T00:00:00.000Z",
    }
    for number, month in ((1, "08"), (2, "10"))
]


def blocks(kind: str) -> list[str]:
    """The page's blocks of one language."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


class Followed:
    """What is there when all commands of the page have been run."""

    def __init__(self, cloud: Cloud, directory: pathlib.Path):
        self.cloud = cloud
        self.directory = directory

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess:
        """A program in the directory of the page, with the simulated cloud as its cloud."""
        return subprocess.run(
            command,
            cwd=self.directory,
            env={**self.cloud.environment, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )


@pytest.fixture(scope="module")
def followed(tmp_path_factory, certificates):
    """The page, followed to its end."""
    if under_test.under_test() != "taciturn":
        pytest.skip("the page is about this project's fleet")
    directory = tmp_path_factory.mktemp("page")
    (directory / "target" / "debian").mkdir(parents=True)
    (directory / "target" / "debian" / "taciturn.deb").write_bytes(b"a package")
    shutil.copy(certificates.chain, directory / "fullchain.pem")
    shutil.copy(certificates.key, directory / "privkey.pem")
    (directory / "bin").mkdir()
    (directory / "bin" / "taciturn").symlink_to(under_test.binary().resolve())
    (directory / "bin" / "aws").symlink_to(pathlib.Path(sys.executable).with_name("aws"))
    images = directory / "images.json"
    images.write_text(json.dumps(IMAGES))
    with started(directory, MOTO_AMIS_PATH=str(images)) as cloud:
        cloud.environment["PATH"] = f"{directory / 'bin'}:{os.environ['PATH']}"
        page = Followed(cloud, directory)
        script = directory / "page.sh"
        script.write_text("set -euo pipefail\n" + "\n".join(blocks("sh")))
        run = page.run("bash", str(script))
        (directory / "page.log").write_text(run.stdout + run.stderr)
        assert run.returncode == 0, run.stderr[-3000:]
        yield page


def the_commands_hang_together_and_the_doctor_has_nothing_to_mend(followed):
    """The group, its hook, its template, its zones and the lease are as a controller needs them; only relays are missing."""
    run = followed.run("taciturn", "doctor", "--config", "controller.toml", "--json", STATE_DIRECTORY=str(followed.directory / "state"))
    findings = json.loads(run.stdout)["findings"]
    bad = [finding for finding in findings if finding["verdict"] == "bad"]
    assert [finding["check"] for finding in bad] == ["relays"], bad
    about = ("group", "behaviour", "capacity", "zones", "provider", "lease")
    doubtful = [finding["words"] for finding in findings if finding["verdict"] == "doubtful" and finding["check"] in about]
    # moto forgets a group's protection from deletion.
    assert doubtful == ["the group can be deleted with everything in it"], findings
    assert "lease" in {finding["check"] for finding in findings if finding["verdict"] == "good"}, findings


@pytest.mark.parametrize("name", ["relay", "controller"])
def a_configuration_of_the_page_is_taken(followed, name):
    """Each key of the files is one that the programs know."""
    run = followed.run("taciturn", "check-config", f"{name}.toml", STATE_DIRECTORY=str(followed.directory / "state"))
    assert run.returncode == 0, run.stderr


def a_relay_fetches_every_file_that_its_configuration_names(followed):
    """The script of the page brings them whole, and again without a change where nothing has changed."""
    place = followed.directory / "etc"
    place.mkdir()
    settings = {
        "TACITURN_ETC": str(place),
        "TACITURN_OWNER": f"{os.getuid()}:{os.getgid()}",
        "AWS_DEFAULT_REGION": "ap-southeast-2",
    }
    fetch = ("sh", str(followed.directory / "fetch"), "/telehealth-au/relay", "relay.toml")
    run = followed.run(*fetch, **settings)
    assert run.returncode == 0, run.stderr
    wanted = {"relay.toml", "fullchain.pem", "privkey.pem", "secret-2026-11.key", "nonce.key", "admin.token"}
    assert {file.name for file in place.iterdir()} == wanted
    for name in wanted:
        assert (place / name).read_bytes().rstrip(b"\n") == (followed.directory / name).read_bytes().rstrip(b"\n"), name
        assert (place / name).stat().st_mode & 0o777 == 0o640, name
    check = followed.run("taciturn", "check-config", str(place / "relay.toml"))
    assert check.returncode == 0, check.stderr
    before = {name: (place / name).stat().st_ino for name in wanted}
    assert followed.run(*fetch, **settings).returncode == 0
    assert {name: (place / name).stat().st_ino for name in wanted} == before
    # A parameter that cannot be read leaves the file that is there.
    (place / "relay.toml").write_text("the old one")
    failed = followed.run("sh", str(followed.directory / "fetch"), "/telehealth-au/nowhere", "relay.toml", **settings)
    assert failed.returncode != 0
    assert (place / "relay.toml").read_text() == "the old one"


def the_first_boot_is_a_script_that_a_shell_understands(followed):
    """What the launch template carries is the file of the page, with the fetching script whole in it."""
    template = followed.cloud.machine_api.describe_launch_template_versions(LaunchTemplateName="telehealth-au-relay")
    data = template["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    carried = base64.b64decode(data["UserData"]).decode()
    assert carried == (followed.directory / "relay-boot").read_text()
    assert (followed.directory / "fetch").read_text() in carried
    assert "$DOMAIN" not in carried and "203-" not in carried
    for name in ("relay-boot", "controller-boot", "fetch"):
        run = followed.run("sh", "-n", name)
        assert run.returncode == 0, run.stderr
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["PrivateDnsNameOptions"]["HostnameType"] == "resource-name"
    assert len(carried) < 16384, "more than AWS takes as user data"


def the_controllers_permissions_are_the_calls_that_it_makes(followed):
    """No action that it calls is missing, and none is there that it does not call; both roles are denied other regions."""
    source = "".join(file.read_text() for file in (boards.ROOT / "controller" / "src").rglob("*.rs"))
    calls = set(re.findall(r'"((?:Describe|Launch|Set|Terminate|Record|Complete)[A-Z]\w+)"', source))
    assert {"LaunchInstances", "DescribeScalingActivities"} <= calls
    policies = {name: json.loads((followed.directory / f"{name}-policy.json").read_text()) for name in ("relay", "controller")}
    allowed = set()
    for statement in policies["controller"]["Statement"]:
        if statement["Effect"] == "Allow":
            actions = statement["Action"]
            allowed |= set([actions] if isinstance(actions, str) else actions)
    assert {action.split(":")[1] for action in allowed if action.startswith("autoscaling:")} == calls
    for policy in policies.values():
        denied = [statement for statement in policy["Statement"] if statement["Effect"] == "Deny"]
        assert denied[0]["Condition"] == {"StringNotEquals": {"aws:RequestedRegion": "ap-southeast-2"}}
    kept = followed.cloud.client("iam").get_role_policy(RoleName="telehealth-au-controller", PolicyName="controller")
    assert kept["PolicyDocument"] == policies["controller"]


def the_relays_are_in_the_zones_that_were_chosen_and_in_no_other(followed):
    """A subnet for each, and rules for each path that clients have."""
    group = followed.cloud.group_api.describe_auto_scaling_groups()["AutoScalingGroups"][0]
    subnets = followed.cloud.machine_api.describe_subnets(SubnetIds=group["VPCZoneIdentifier"].split(","))["Subnets"]
    assert sorted(subnet["AvailabilityZoneId"] for subnet in subnets) == ["apse2-az1", "apse2-az2", "apse2-az3"]
    groups = followed.cloud.machine_api.describe_security_groups()["SecurityGroups"]
    (relays,) = [group for group in groups if group["GroupName"] == "telehealth-au-relays"]
    public = {
        (rule["IpProtocol"], rule["FromPort"], rule["ToPort"])
        for rule in relays["IpPermissions"]
        if any(at["CidrIp"] == "0.0.0.0/0" for at in rule["IpRanges"])
    }
    assert public == {("udp", 3478, 3478), ("udp", 443, 443), ("tcp", 443, 443), ("udp", 49152, 65535)}


def the_scrape_configuration_of_the_page_is_taken(followed):
    """promtool's judgement, with files of these names."""
    (block,) = blocks("yaml")
    assert yaml.safe_load(block)["scrape_configs"]
    file = followed.directory / "prometheus.yml"
    file.write_text(block)
    run = followed.run("promtool", "check", "config", str(file))
    assert run.returncode == 0, run.stdout + run.stderr
