"""A cloud that other people simulate (moto), as its own process on loopback: `python cloud.py PORT`.

Responsible for starting it, and for the actions of Auto Scaling that it lacks. Those are declared in a few lines here, and
read and written by moto from botocore's model of the API, so that the wire format is nobody's of this project. Not
responsible for behaving like the service: it enforces no bounds, waits for no hooks and boots in no time.
"""

import sys
import time

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult
from moto.server import ThreadedMotoServer

# Launches by group and client token: the same token again is the same launch.
LAUNCHED: dict[tuple[str, str], list[str]] = {}


def _group(response: AutoScalingResponse):
    name = response._get_param("AutoScalingGroupName")
    groups = response.autoscaling_backend.autoscaling_groups
    if name not in groups:
        raise ValidationError(f"Group {name} not found")
    return groups[name]


def launch_instances(self: AutoScalingResponse) -> ActionResult:
    """Launches at once, in whatever zone moto takes."""
    group = _group(self)
    token = self._get_param("ClientToken")
    if not (self._get_param("AvailabilityZones") or self._get_param("AvailabilityZoneIds")):
        raise ValidationError("Either AvailabilityZones or SubnetIds must be specified")
    if (group.name, token) not in LAUNCHED:
        before = {state.instance.id for state in group.instance_states}
        capacity = group.desired_capacity + self._get_param("RequestedCapacity")
        self.autoscaling_backend.set_desired_capacity(group.name, capacity)
        new = [state.instance.id for state in group.instance_states]
        LAUNCHED[group.name, token] = [one for one in new if one not in before]
    instances = {"InstanceType": "c7gn.large", "InstanceIds": LAUNCHED[group.name, token]}
    answer = {"AutoScalingGroupName": group.name, "ClientToken": token, "Instances": [instances], "Errors": []}
    return ActionResult(answer)


def describe_instance_refreshes(self: AutoScalingResponse) -> ActionResult:
    """There are none."""
    _group(self)
    return ActionResult({"InstanceRefreshes": []})


def _lifecycle_action(self: AutoScalingResponse) -> ActionResult:
    """Accepted for every instance of the group, as nothing ever waits here."""
    instance = self._get_param("InstanceId")
    if instance not in {state.instance.id for state in _group(self).instance_states}:
        raise ValidationError(f"No active Lifecycle Action found with instance ID {instance}")
    return ActionResult({})


AutoScalingResponse.launch_instances = launch_instances
AutoScalingResponse.describe_instance_refreshes = describe_instance_refreshes
AutoScalingResponse.complete_lifecycle_action = _lifecycle_action
AutoScalingResponse.record_lifecycle_action_heartbeat = _lifecycle_action

if __name__ == "__main__":
    ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1])).start()
    while True:
        time.sleep(3600)
