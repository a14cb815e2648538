# One image for web, worker, beat, migrate and Flower; what it runs is its command.
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/holdfast
# The pins change less often than the code: this layer is kept between builds.
COPY requirements.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/holdfast/bin/pip install --disable-pip-version-check --require-hashes -r requirements.txt
COPY . .
RUN /opt/holdfast/bin/pip install --disable-pip-version-check --no-deps .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/holdfast --create-home holdfast
COPY --from=build /opt/holdfast /opt/holdfast
ENV PATH=/opt/holdfast/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=holdfast.runner.site.settings \
    HOLDFAST_HOME=/var/lib/holdfast \
    STATIC_ROOT=/var/lib/holdfast/static
USER holdfast
WORKDIR /var/lib/holdfast
RUN HOLDFAST_WITHOUT_DATABASE=1 django-admin collectstatic --noinput --verbosity 0
EXPOSE 8000
# SIGTERM hands runs over at their next step boundary; give the container longer than a step to stop.
STOPSIGNAL SIGTERM
CMD ["uvicorn", "holdfast.runner.site.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--no-access-log"]
