"""The pages of Django's admin, with rows as the ledger and the savers leave them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from holdfast.errors import RetryRefusedError, RunStateError
from holdfast.persistence import codec
from holdfast.persistence.ids import new_run_id
from holdfast.persistence.models import (
    CheckpointView,
    Effect,
    NodeCacheEntry,
    RunRow,
    Step,
    StoreItem,
    StoreItemView,
    Thread,
)
from holdfast.persistence.node_cache.keys import digests, slot
from holdfast.runner.admin.runs import RunAdmin

pytestmark = pytest.mark.django_db

EVIL = "<script>alert('state')</script>"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MODELS = ("runrow", "thread", "effect", "nodecacheentry", "checkpointview", "storeitemview")


def make_run(thread: str = "order-1", **changes: Any) -> RunRow:
    """A run as ``enqueue`` leaves it, but for ``changes``."""
    Thread.objects.get_or_create(id=thread, defaults={"created_at": NOW})
    kind, data = codec.dumps(changes.pop("value", {"topic": "seaweed"}), field="input")
    row: dict[str, Any] = {
        "id": new_run_id(),
        "thread_id": thread,
        "graph": "approval",
        "version": "1",
        "status": "queued",
        "input_type": kind,
        "input": data,
        "request_hash": "",
        "not_before": NOW,
        "created_at": NOW,
        "max_crashes": 3,
    }
    return RunRow.objects.create(**{**row, **changes})


def make_interrupted(value: object = "Publish?", **changes: Any) -> RunRow:
    question = {
        "id": "q1",
        "value": value,
        "node": "ask",
        "namespace": "",
        "checkpoint_id": "c",
        "task_id": "t",
        "answered": 0,
    }
    return make_run(
        status="interrupted", holds_thread=True, started_at=NOW, deliveries=1, questions=[question], **changes
    )


def make_effect(run: RunRow, **changes: Any) -> Effect:
    kind, data = codec.dumps("sent", field="result")
    return Effect.objects.create(
        **{
            "key": uuid4().hex,
            "run_id": run.id,
            "thread_id": run.thread_id,
            "task_id": "t",
            "function": "shop.mail.send",
            "call": 0,
            "kind": "keyed",
            "arguments_hash": "",
            "arguments": json.dumps({"to": EVIL}),
            "state": "done",
            "result_type": kind,
            "result": data,
            "begun_at": NOW,
            "done_at": NOW + timedelta(seconds=2),
            "token": uuid4(),
            **changes,
        }
    )


def make_step(run: RunRow, number: int, **changes: Any) -> Step:
    return Step.objects.create(
        **{
            "run_id": run.id,
            "delivery": 1,
            "step": number,
            "node": f"node-{number}",
            "task_id": f"task-{number}",
            "owner": "host:1",
            "started_at": NOW + timedelta(seconds=number),
            "finished_at": NOW + timedelta(seconds=number + 1),
            "outcome": "done",
            **changes,
        }
    )


def make_checkpoint(thread: str = "order-1", number: int = 1, value: object = "hello", **changes: Any) -> str:
    """A checkpoint as a stock saver writes it; returns its id."""
    checkpoint_id = f"1f0b0000-0000-6000-8000-{number:012d}"
    kind, data = codec.dumps(value, field="channel")
    kind, data = changes.get("stored", (kind, data))
    version = f"{number:032d}.0"
    body = {
        "v": 4,
        "id": checkpoint_id,
        "ts": "2026-11-21T12:00:00+00:00",
        "channel_values": {"inline": EVIL},
        "channel_versions": {"messages": version},
        "versions_seen": {},
    }
    metadata = changes.get("metadata", {"source": "loop", "step": number, "note": EVIL})
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, type, checkpoint, metadata)"
            " VALUES (%s, '', %s, 'msgpack', %s, %s)",
            [thread, checkpoint_id, json.dumps(body), json.dumps(metadata)],
        )
        cursor.execute(
            "INSERT INTO checkpoint_blobs VALUES (%s, '', 'messages', %s, %s, %s)",
            [thread, version, kind, data],
        )
        cursor.execute(
            "INSERT INTO checkpoint_writes VALUES (%s, '', %s, 'task', 0, 'messages', %s, %s, '~path')",
            [thread, checkpoint_id, kind, data or b""],
        )
    return checkpoint_id


@pytest.fixture
def everything() -> RunRow:
    """One row of everything, with markup wherever text can stand."""
    run = make_run(
        status="failed",
        error={"type": "ValueError", "message": EVIL},
        value={"name": EVIL},
        metadata={"who": EVIL},
        started_at=NOW,
        finished_at=NOW + timedelta(seconds=90),
        owner=EVIL,
    )
    make_effect(run)
    make_step(run, 0, node=EVIL)
    kind, data = codec.dumps(EVIL, field="value")
    make_cache_entry(["digest", EVIL], EVIL, type=kind, value=data, version=EVIL, cost=1.5, hits=2, saved=3.0)
    make_checkpoint(run.thread_id, 1, [EVIL])
    make_item(EVIL)
    return run


def make_item(key: str) -> None:
    """As the store writes it, in the test's own transaction."""
    StoreItem.objects.create(
        prefix=f"users.{EVIL}", key=key, value={EVIL: [EVIL]}, created_at=NOW, updated_at=NOW, expires_at=NOW
    )


def make_cache_entry(namespace: list[str], key: str, **fields: Any) -> NodeCacheEntry:
    (digest,) = digests("", [(tuple(namespace), key)])
    fields = {"type": "null", "value": b"", "created_at": NOW} | fields
    return NodeCacheEntry.objects.create(
        slot=slot(digest), digest=digest, namespace=namespace, key=key, **fields
    )


@pytest.fixture
def boss(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("boss"))
    return client


def clerk(*permissions: str) -> Client:
    """A client whose user may enter the admin and has only these permissions."""
    user = User.objects.create_user(f"clerk-{uuid4().hex[:8]}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def changelist(model: str) -> str:
    return reverse(f"admin:holdfast_persistence_{model}_changelist")


def detail(model: str, key: object) -> str:
    from django.contrib.admin.utils import quote

    return reverse(f"admin:holdfast_persistence_{model}_change", args=[quote(str(key))])


def details(run: RunRow) -> Iterator[str]:
    yield detail("runrow", run.id)
    yield detail("thread", run.thread_id)
    yield detail("effect", Effect.objects.get().key)
    yield detail("nodecacheentry", NodeCacheEntry.objects.get().pk)
    yield detail("checkpointview", CheckpointView.objects.get().key)
    yield detail("storeitemview", StoreItemView.objects.get().pk)


def act(client: Client, action: str, run: RunRow, **fields: str) -> Any:
    data = {"action": action, "_selected_action": str(run.id), **fields}
    return client.post(changelist("runrow"), data, follow=True)


def test_a_cache_entry_shows_what_it_saved(boss: Client) -> None:
    entry = make_cache_entry(
        ["ns", "summarise"], "k", version="orders@2", cost=30.0, hits=4, misses=1, saved=120.0
    )
    for url in (changelist("nodecacheentry"), detail("nodecacheentry", entry.pk)):
        shown = boss.get(url).content.decode()
        assert "summarise" in shown
        assert "2 min 0 s" in shown
        assert "orders@2" in shown


def test_every_page_shows_untrusted_text_as_text(boss: Client, everything: RunRow) -> None:
    for url in [*map(changelist, MODELS), *details(everything)]:
        answer = boss.get(url)
        assert answer.status_code == 200, url
        assert EVIL not in answer.content.decode(), url
    assert "&lt;script&gt;" in boss.get(detail("runrow", everything.id)).content.decode()


@pytest.mark.parametrize("model", MODELS)
def test_a_list_needs_the_same_queries_whatever_its_length(
    boss: Client, model: str, django_assert_max_num_queries: Any
) -> None:
    def fill(first: int) -> None:
        for number in range(first, first + 5):
            run = make_run(f"thread-{number}")
            make_effect(run)
            make_cache_entry(["n"], str(number))
            make_checkpoint(run.thread_id, number)
            make_item(str(number))

    fill(0)
    boss.get(changelist(model))
    with django_assert_max_num_queries(5) as few:
        assert boss.get(changelist(model)).status_code == 200
    fill(5)
    with django_assert_max_num_queries(len(few)):
        assert boss.get(changelist(model)).status_code == 200


def test_a_run_s_page_needs_the_same_queries_whatever_it_did(
    boss: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    run = make_run(status="succeeded")
    make_step(run, 0)
    make_effect(run)
    boss.get(detail("runrow", run.id))
    with django_assert_num_queries(7):  # session, user, run, thread, steps, cancel request, effects
        boss.get(detail("runrow", run.id))
    for number in range(1, 30):
        make_step(run, number)
        make_effect(run)
    with django_assert_num_queries(7):
        page = boss.get(detail("runrow", run.id)).content.decode()
    assert "node-29" in page


def test_lists_count_no_further_than_their_limit(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.runner.admin import base

    monkeypatch.setattr(base, "COUNT_LIMIT", 3)
    for number in range(5):
        make_run(f"thread-{number}")
    assert boss.get(changelist("runrow")).context["cl"].result_count == 3


def test_lists_leave_stored_values_in_the_database(boss: Client, django_assert_max_num_queries: Any) -> None:
    make_run(value="x" * 10_000)
    with django_assert_max_num_queries(5) as queries:
        boss.get(changelist("runrow"))
    assert not any('"input"' in query["sql"] for query in queries.captured_queries)


def test_runs_are_found_by_id_thread_and_idempotency_key(boss: Client) -> None:
    wanted = make_run("customer-7", idempotency_key="key-7")
    make_run("customer-8")
    for term in (str(wanted.id), "customer-7", "key-7"):
        rows = boss.get(changelist("runrow"), {"q": term}).context["cl"].result_list
        assert [row.id for row in rows] == [wanted.id], term
    rows = boss.get(changelist("runrow"), {"q": "customer-"}).context["cl"].result_list
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"status": "failed"}, 1),
        ({"status": "attention"}, 1),
        ({"status": "unfinished"}, 1),
        ({"graph": "approval"}, 2),
        ({"graph": "long_steps"}, 0),
        ({"enqueued": "hour"}, 2),
        ({"trouble": "crashed"}, 1),
        ({"status": "nonsense"}, 2),
    ],
)
def test_runs_are_filtered(boss: Client, query: dict[str, str], found: int) -> None:
    make_run(status="failed", crashes=3)
    make_run("other")
    assert boss.get(changelist("runrow"), query).context["cl"].result_count == found


def test_p12_a_type_that_is_not_allowed_is_shown_as_the_error(boss: Client) -> None:
    import ormsgpack

    foreign = ormsgpack.packb(
        ormsgpack.Ext(0, ormsgpack.packb(("os", "system", "touch /tmp/holdfast-was-here")))
    )
    make_checkpoint("order-1", 1, stored=("msgpack", foreign))
    run = make_run(input_type="pickle", input=b"\x80\x04.")
    page = boss.get(detail("checkpointview", CheckpointView.objects.get().key)).content.decode()
    assert "TypeNotAllowedError" in page
    assert "os.system" in page
    page = boss.get(detail("runrow", run.id)).content.decode()
    assert "TypeNotAllowedError" in page
    assert "pickle" in page


def test_damaged_bytes_break_no_page(boss: Client) -> None:
    run = make_run(input_type="msgpack", input=b"\xc1\xff", result_type="msgpack", result=b"")
    make_checkpoint("order-1", 1, stored=("msgpack", b"\xc1"), metadata={"step": "; DROP TABLE", "source": 7})
    assert boss.get(detail("runrow", run.id)).status_code == 200
    assert boss.get(changelist("checkpointview")).status_code == 200
    assert boss.get(detail("checkpointview", CheckpointView.objects.get().key)).status_code == 200


def test_a_run_that_failed_names_its_line_and_shows_no_empty_fields(boss: Client) -> None:
    error = {
        "type": "KeyError",
        "message": "'anchor'",
        "where": "/srv/shop/graphs.py:13, in price",
        "traceback": "T",
    }
    page = boss.get(detail("runrow", make_run(status="failed", error=error).id)).content.decode()
    assert "at /srv/shop/graphs.py:13, in price" in page
    for absent in ("questions_asked", "result_value", "context_value", "metadata_text", "idempotency_key"):
        assert f"field-{absent}" not in page
    page = boss.get(detail("runrow", make_run(idempotency_key="key-8").id)).content.decode()
    assert "key-8" in page
    assert "field-error_text" not in page


def test_large_values_are_cut(boss: Client) -> None:
    run = make_run(value={"text": "x" * 100_000}, result_type="msgpack", result=b"\x00" * 1_000_001)
    page = boss.get(detail("runrow", run.id)).content.decode()
    assert len(page) < 60_000
    assert "more characters" in page
    assert "too large to be shown" in page


@pytest.mark.parametrize("thread", ["order/1?a=b&c", 'say "hi", [you]', "Ünï_code ☂ 50%", "a\\b:c;d"])
def test_any_thread_id_leads_to_its_pages(boss: Client, thread: str) -> None:
    make_run(thread)
    make_checkpoint(thread, 1)
    make_checkpoint(thread, 2)
    row = CheckpointView.objects.get(checkpoint_id__endswith="2")
    assert boss.get(detail("checkpointview", row.key)).status_code == 200
    assert boss.get(detail("thread", thread)).status_code == 200
    made = CheckpointView.make_key(row.thread_id, row.checkpoint_ns, row.checkpoint_id)
    assert CheckpointView.parts(made) == CheckpointView.parts(row.key)
    listed = boss.get(changelist("checkpointview"), {"thread_id": thread}).context["cl"].result_list
    assert [row.checkpoint_id[-1] for row in listed] == ["2", "1"]


@pytest.mark.parametrize("key", ["nonsense", '["a"]', '["a", "b", 3]', '{"a": 1}'])
def test_a_key_that_is_none_leads_to_no_checkpoint(boss: Client, key: str) -> None:
    assert boss.get(detail("checkpointview", key)).status_code == 302


def test_a_checkpoint_is_found_by_an_index(boss: Client) -> None:
    make_checkpoint()
    query = CheckpointView.objects.filter(thread_id="order-1", checkpoint_ns="", checkpoint_id="c")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        assert "Index Cond" in query.explain()


@pytest.mark.parametrize("term", ["order-1", "00000000-0000-7000-8000-000000000000"])
def test_the_search_for_runs_goes_by_indexes_alone(term: str) -> None:
    make_run()
    found = RunAdmin(RunRow, site).found(RunRow.objects.all(), term)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = found.values("pk").explain().splitlines()
    looked_up = [line for line in plan if "Index Cond" in line and f"'{term}'" in line]
    assert any("~>=~" in line or ">=" in line for line in looked_up), "threads, by the beginning of their ids"
    assert len(looked_up) == 2, "and runs, by their own id or key"


def test_nothing_is_added_changed_or_deleted_but_cache_entries(boss: Client, everything: RunRow) -> None:
    for model, url in zip(MODELS, details(everything), strict=True):
        assert boss.get(changelist(model) + "add/").status_code == 403
        assert boss.post(url, {"status": "succeeded", "id": "x"}).status_code == 403
        deletion = boss.get(url.replace("/change/", "/delete/"))
        assert deletion.status_code == (200 if model == "nodecacheentry" else 403)
    entry = NodeCacheEntry.objects.get()
    answer = boss.post(detail("nodecacheentry", entry.pk).replace("/change/", "/delete/"), {"post": "yes"})
    assert answer.status_code == 302
    assert not NodeCacheEntry.objects.exists()


def test_the_delete_action_is_for_those_who_may_delete(everything: RunRow) -> None:
    viewer = clerk("view_nodecacheentry")
    assert "delete_selected" not in viewer.get(changelist("nodecacheentry")).content.decode()
    deleter = clerk("view_nodecacheentry", "delete_nodecacheentry")
    entry = NodeCacheEntry.objects.get()
    data = {"action": "delete_selected", "_selected_action": str(entry.pk), "post": "yes"}
    deleter.post(changelist("nodecacheentry"), data)
    assert not NodeCacheEntry.objects.exists()


def test_pages_need_the_view_permission(everything: RunRow) -> None:
    stranger = clerk()
    for model, url in zip(MODELS, details(everything), strict=True):
        assert stranger.get(changelist(model)).status_code == 403
        assert stranger.get(url).status_code == 403
        viewer = clerk(f"view_{model}")
        assert viewer.get(changelist(model)).status_code == 200
        assert viewer.get(url).status_code == 200


def test_operations_need_the_change_permission() -> None:
    run = make_interrupted()
    viewer = clerk("view_runrow")
    page = viewer.get(changelist("runrow")).content.decode()
    assert "retry_runs" not in page
    assert "answer_runs" not in viewer.get(detail("runrow", run.id)).content.decode()
    act(viewer, "cancel_runs", run, holdfast_confirmed="1")
    run.refresh_from_db()
    assert run.status == "interrupted"
    changer = clerk("change_runrow")
    assert "answer_runs" in changer.get(detail("runrow", run.id)).content.decode()


def test_the_answer_page_shows_the_question_and_refuses_what_is_no_json(boss: Client) -> None:
    run = make_interrupted({"draft": EVIL})
    page = act(boss, "answer_runs", run).content.decode()
    assert "&lt;script&gt;" in page
    assert EVIL not in page
    page = act(boss, "answer_runs", run, holdfast_confirmed="1", **{f"{run.id}:q1": "yes"}).content.decode()
    assert "This is no JSON" in page
    assert ">yes</textarea>" in page
    run.refresh_from_db()
    assert run.status == "interrupted"


def test_an_empty_answer_answers_nothing(boss: Client) -> None:
    run = make_interrupted()
    page = act(boss, "answer_runs", run, holdfast_confirmed="1", **{f"{run.id}:q1": "  "}).content.decode()
    assert "No question was answered" in page


def test_answering_a_run_that_asks_nothing_says_so(boss: Client) -> None:
    assert "None of the selected runs asks anything" in act(boss, "answer_runs", make_run()).content.decode()


def test_a_refused_operation_shows_its_typed_error(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    import holdfast

    def refuse(run_id: UUID) -> None:
        raise RetryRefusedError(f"No: {EVIL}", run_id=run_id, status="failed", reason="later run")

    monkeypatch.setattr(holdfast, "retry", refuse, raising=False)
    page = act(boss, "retry_runs", make_run(status="failed")).content.decode()
    assert "RetryRefusedError" in page
    assert "No: &lt;script&gt;" in page
    assert issubclass(RetryRefusedError, RunStateError)


def test_the_list_of_runs_says_what_matters_in_four_columns(boss: Client) -> None:
    """More would not fit beside menu and filters on 1280 pixels."""
    failed = make_run(
        status="failed", deliveries=3, crashes=1, error={"type": "ValueError", "message": "no such boat"}
    )
    make_run(status="running", owner="host-7:317", deliveries=1)
    answer = boss.get(changelist("runrow"))
    assert len(answer.context["cl"].list_display) == 4 + 1, "and the box to select it by"
    page = answer.content.decode()
    for shown in (
        "ValueError: no such boat",
        "3 deliveries, 1 crash",
        "host-7:317",
        failed.thread_id,
        "approval (1)",
    ):
        assert shown in page


def test_items_of_the_store_are_found_by_their_namespace(boss: Client) -> None:
    make_item("one")
    StoreItem.objects.create(prefix="users.bob", key="two", value={})
    found = boss.get(changelist("storeitemview"), {"q": "users.bob"}).content.decode()
    assert "two" in found
    assert "one" not in found.partition("result_list")[2]
    assert boss.get(detail("storeitemview", '["users.bob", "two"]')).status_code == 200
    assert boss.get(detail("storeitemview", '["users.bob"]')).status_code == 302
