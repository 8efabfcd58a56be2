"""The application that the suite of the Functions host runs: nothing in it knows which host runs it."""
# ruff: noqa: ARG001 - a trigger's parameter must be there, used or not

import asyncio
import json
import logging
import os
import time
import typing
from pathlib import Path
from typing import Any

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
more = func.Blueprint()
log = logging.getLogger("sample")

_RECORDS = Path(os.environ["RECORDS"])
_running = 0


def record(kind: str, **fields: Any) -> None:
    """Tell the suite."""
    with _RECORDS.open("a") as file:
        file.write(json.dumps({"kind": kind, **fields}, default=str) + "\n")


# ---- HTTP


@app.route(route="echo/{id:int}/{rest?}", methods=["GET", "POST"])
async def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    seen = {
        "method": req.method,
        "url": req.url,
        "headers": dict(req.headers),
        "params": dict(req.params),
        "route_params": dict(req.route_params),
        "body": req.get_body().decode(),
        "function": context.function_name,
        "trace_parent": context.trace_context.trace_parent,
    }
    return func.HttpResponse(json.dumps(seen), mimetype="application/json", status_code=201, headers={"X-One": "1"})


@app.route(route="echo/{*path}")
async def echo_rest(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("rest " + req.route_params.get("path", "-"))


@app.route(route="things/{name}")
async def a_parameter(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("parameter " + req.route_params["name"])


@app.route(route="things/list")
async def b_literal(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("literal")


@more.route(route="guarded", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
async def guarded(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("in")


@more.route(route="vault", auth_level=func.AuthLevel.ADMIN)
async def vault(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("in")


@more.route(route="cookies")
async def cookies(req: func.HttpRequest) -> func.HttpResponse:
    response = func.HttpResponse(status_code=204)
    response.headers.add("Set-Cookie", "a=1; Path=/x; HttpOnly")
    response.headers.add("Set-Cookie", "b=2; Max-Age=60; Secure")
    return response


@more.route(route="fails")
async def fails(req: func.HttpRequest) -> func.HttpResponse:
    raise ValueError("details that no client may see")


@more.route(route="text")
def text(req: func.HttpRequest) -> str:
    log.info("a synchronous function\n[2000-01-01T00:00:00.000Z] a forged line")
    return "text"


@more.route(route="nothing")
async def nothing(req: func.HttpRequest) -> func.HttpResponse:
    return None  # type: ignore[return-value]


@more.route(route="sleeps")
async def sleeps(req: func.HttpRequest) -> func.HttpResponse:
    record("sleeping")
    await asyncio.sleep(float(req.params["seconds"]))
    return func.HttpResponse("woke")


@more.route(route="blocks")
def blocks(req: func.HttpRequest) -> str:
    time.sleep(60)
    return "woke"


@more.route(route="quiet")
async def quiet(req: func.HttpRequest) -> func.HttpResponse:
    log.info("not so loud")
    return func.HttpResponse("shh")


@more.route(route="who")
async def who(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(str(os.getpid()))


@more.route(route="off")
async def off(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("on")


# ---- Service Bus


@app.service_bus_queue_trigger(arg_name="message", queue_name="%PlainQueue%", connection="Bus")
async def plain(message: func.ServiceBusMessage) -> None:
    record(
        "plain",
        body=message.get_body().decode(),
        metadata=message.metadata,
        enqueued_is_naive=message.enqueued_time_utc is not None and message.enqueued_time_utc.tzinfo is None,
        message_id=message.message_id,
        delivery_count=message.delivery_count,
        sequence_number=message.sequence_number,
        user_properties=message.user_properties,
    )


@app.service_bus_queue_trigger(arg_name="message", queue_name="stumbles", connection="Bus")
async def stumbles(message: func.ServiceBusMessage) -> None:
    record("stumbles", delivery_count=message.delivery_count)
    if message.delivery_count == 1:
        raise RuntimeError("the first attempt fails")


@app.service_bus_queue_trigger(arg_name="message", queue_name="crowd", connection="Bus")
async def crowd(message: func.ServiceBusMessage) -> None:
    global _running  # noqa: PLW0603 - counts what runs at once
    _running += 1
    record("crowd", running=_running)
    await asyncio.sleep(0.05)
    _running -= 1


@app.service_bus_queue_trigger(arg_name="message", queue_name="long", connection="Bus")
async def long(message: func.ServiceBusMessage) -> None:
    record("long starts")
    await asyncio.sleep(1.2)
    record("long", delivery_count=message.delivery_count)


@app.service_bus_queue_trigger(arg_name="message", queue_name="slow", connection="Bus")
async def slow(message: func.ServiceBusMessage) -> None:
    record("slow starts", pid=os.getpid(), delivery_count=message.delivery_count)
    await asyncio.sleep(float(message.get_body()))
    record("slow ends", pid=os.getpid())


@app.service_bus_queue_trigger(arg_name="messages", queue_name="many", connection="Bus", cardinality="many")
async def many(messages: typing.List[func.ServiceBusMessage]) -> None:  # noqa: UP006 - the worker knows only this
    record(
        "many",
        bodies=[message.get_body().decode() for message in messages],
        ids=[message.message_id for message in messages],
        sequence_numbers=[message.sequence_number for message in messages],
        user_properties=[message.user_properties for message in messages],
    )


@app.service_bus_queue_trigger(arg_name="message", queue_name="sessions", connection="Bus", is_sessions_enabled=True)
async def sessions(message: func.ServiceBusMessage) -> None:
    record("session starts", session=message.session_id, body=message.get_body().decode())
    await asyncio.sleep(0.02)
    record("session ends", session=message.session_id, body=message.get_body().decode())


@app.service_bus_queue_trigger(arg_name="message", queue_name="lasting", connection="Bus", is_sessions_enabled=True)
async def lasting(message: func.ServiceBusMessage) -> None:
    await asyncio.sleep(0.4)
    record("lasting", delivery_count=message.delivery_count)


@app.service_bus_queue_trigger(arg_name="message", queue_name="overlong", connection="Bus")
async def overlong(message: func.ServiceBusMessage) -> None:
    await asyncio.sleep(1.2)
    record("overlong")


@app.service_bus_queue_trigger(arg_name="message", queue_name="fatal", connection="Bus")
async def fatal(message: func.ServiceBusMessage) -> None:
    record("fatal", pid=os.getpid(), delivery_count=message.delivery_count)
    if message.delivery_count == 1:
        os._exit(9)


@app.service_bus_queue_trigger(arg_name="message", queue_name="unserved", connection="Bus")
async def unserved(message: func.ServiceBusMessage) -> None:
    record("unserved")


# ---- timers


@app.timer_trigger(arg_name="timer", schedule="%Often%")
async def often(timer: func.TimerRequest) -> None:
    record("often", pid=os.getpid(), past_due=timer.past_due)


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True)
async def yearly(timer: func.TimerRequest) -> None:
    record("yearly", past_due=timer.past_due, status=timer.schedule_status, schedule=timer.schedule)


@app.timer_trigger(arg_name="timer", schedule="0 0 * * * *")
async def hourly(timer: func.TimerRequest) -> None:
    record("hourly", past_due=timer.past_due)


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True)
@app.retry(strategy="fixed_delay", max_retry_count="2", delay_interval="00:00:00")
async def persistent(timer: func.TimerRequest, context: func.Context) -> None:
    retries = context.retry_context
    record("persistent", pid=os.getpid(), retry=retries.retry_count, most=retries.max_retry_count)
    if retries.retry_count < 2:
        raise RuntimeError("again")


app.register_functions(more)
