"""A running app with settings under which it cannot work, until they are fixed."""

from pathlib import Path

from dev.stack import LocalStack
from tests.dev.waiting import wait_until
from tests.end_to_end.ward import QUIET, Ward, pulse

SECRET = "SECRET-text"


def test_an_unusable_setting_keeps_everything_where_it_is_until_it_is_fixed(tmp_path: Path, device: str) -> None:
    wrong = {"WINDOW_SECONDS": SECRET, "FHIR_SERVICE_URL": "", "FHIR_BUNDEL_SIZE": SECRET}
    with LocalStack(tmp_path, settings=QUIET | wrong, longest_wait_seconds=0.2) as stack, Ward(stack) as ward:
        ward.admit(device)
        positions = ward.send([pulse(device, "08:00:00", 71)])
        wait_until(lambda: stack.invocations("normalize")["failed"] > 1)
        assert not stack.run_timer("flush")
        health = stack.call("GET", "/api/health")
        assert (health.status_code, health.json()["state"]) == (503, "down")
        told = health.json()["parts"]["settings"]["message"]
        for text in (told, stack.logs):
            assert "2 app settings are unusable." in text
            assert "WINDOW_SECONDS is not a whole number. Allowed: a whole number from 1 to 86400." in text
            assert "FHIR_SERVICE_URL is missing." in text
            assert SECRET not in text
        assert stack.unread() == 1
        assert ward.letters(positions) == []

        right = {"WINDOW_SECONDS": "60", "FHIR_SERVICE_URL": stack.fhir_url}
        stack.change_settings(right)
        stack.restart_host()
        stack.wait_until_read()
        ward.flush()
        assert [value for _, value, _ in ward.stored(device)] == [71]
        assert "FHIR_BUNDEL_SIZE is not a setting. If FHIR_BUNDLE_SIZE is meant, rename it." in stack.logs
        assert "settings" not in stack.call("GET", "/api/health").json()["parts"]
        assert SECRET not in stack.logs


def test_the_look_goes_on_where_a_setting_stops_only_the_functions(tmp_path: Path) -> None:
    with LocalStack(tmp_path, settings=QUIET | {"AZURE_CLIENT_ID": SECRET}) as stack:
        health = stack.call("GET", "/api/health")
        parts = health.json()["parts"]
        assert health.status_code == 503
        assert (parts["settings"]["state"], parts["storage"]["state"]) == ("down", "ok")
        assert next(iter(parts)) == "settings"
        assert SECRET not in health.text
