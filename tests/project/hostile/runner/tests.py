"""The project's own tests, without a worker: Celery is eager, and Holdfast's runs are run by ``run_now``."""

from django.conf import settings
from django.test import TestCase

import holdfast
from holdfast.testing import run_now

from .models import Order
from .tasks import count


class OrderTests(TestCase):
    """All inside TestCase's transactions, of which none commits."""

    databases = {"default", "second"}

    def order(self, **fields):
        return self.client.post("/orders/", fields).json()

    def test_an_order_is_fulfilled(self):
        made = self.order()
        assert made["status"] == "queued"
        run = run_now(made["run"])
        assert run.status == "succeeded", run.error
        assert run.result["log"] == ["enqueued", "reserved", "packed", "approved"]
        assert Order.objects.get().status == "reserved"

    def test_a_question_is_answered(self):
        made = self.order(ask="1")
        run = run_now(made["run"])
        assert run.status == "interrupted", run.error
        assert [question.value for question in run.questions] == ["Send it?"]
        holdfast.resume(run.id, "Ada")
        run = run_now(run)
        assert run.result["log"][-1] == "approved by Ada"

    def test_each_test_starts_empty(self):
        assert Order.objects.count() == 0
        assert holdfast.get(self.order()["run"]).deliveries == 0

    def test_a_failing_view_leaves_nothing(self):
        self.client.raise_request_exception = False
        assert self.client.post("/orders/", {"fail": "1"}).status_code == 500
        assert Order.objects.count() == 0

    def test_committing_in_an_eager_project_executes_nothing_here(self):
        with self.captureOnCommitCallbacks(using=settings.HOLDFAST["DATABASE"], execute=True):
            run = holdfast.enqueue("fulfil", {"order": 0})
        assert holdfast.get(run.id).status == "queued"

    def test_own_tasks_are_still_eager(self):
        assert count.delay().get() == 0
