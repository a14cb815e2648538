"""Views that enqueue. ATOMIC_REQUESTS makes each request one transaction a database."""

from django.db import connections
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

import holdfast

from .models import Order


@csrf_exempt
@require_POST
def create(request):
    """An order and the run that fulfils it; ``fail`` raises after both were written."""
    order = Order.objects.create()
    run = holdfast.enqueue(
        "fulfil",
        {
            "order": order.pk,
            "seconds": float(request.POST.get("seconds", 0)),
            "ask": "ask" in request.POST,
            "log": ["enqueued"],
        },
        thread_id=request.POST.get("thread"),
    )
    order.run = run.id
    order.save()
    if "fail" in request.POST:
        raise RuntimeError("the view fails after it has enqueued")
    return JsonResponse({"order": order.pk, "run": str(run.id), "status": run.status})


def open_connections(_request):
    """Which of Django's connections this process has open."""
    return JsonResponse({"aliases": [c.alias for c in connections.all() if c.connection is not None]})
