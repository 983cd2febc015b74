"""A message that ends the worker, on the local host: its partition goes on without it."""

from pathlib import Path

from dev.processes import ROOT
from dev.stack import LocalStack
from tests.end_to_end.ward import Ward, pulse

_APP = ROOT / "tests" / "dev" / "apps" / "poison"
_SETTINGS = {
    # The worker looks for modules in the app's folder, which this app has not in common with the package.
    "PYTHONPATH": str(ROOT),
    "DEVICE_MAPPING": str(ROOT / "mappings" / "deviceMapping.json"),
    "RETRY_MINIMUM": "00:00:00",
    "RETRY_MAXIMUM": "00:00:01",
}


def test_a_message_that_ends_the_worker_is_given_up_and_its_partition_goes_on(tmp_path: Path) -> None:
    good = [pulse("device-1", f"08:00:{second:02d}", 60 + second) for second in range(8)]
    poison = pulse("device-1", "08:01:00", 70, note="ends-the-process")
    with LocalStack(tmp_path, app_directory=_APP, settings=_SETTINGS) as stack, Ward(stack) as ward:
        [*_, position] = ward.send([*good[:4], poison])
        ward.deliver(good[4:])
        [letter] = ward.letters([position])
        assert (letter.error, letter.stage) == ("PoisonMessage", "Normalization")
        assert len(set(ward.waiting("device-1"))) == len(good)
        assert ward.letter_counts([position]) == [1]
        assert stack.invocations("normalize")["failed"] <= 12
