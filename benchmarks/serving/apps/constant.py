"""The floor: an answer of a given size, headers and all, that takes no work. Also the sink of traces.

`/N` answers N bytes of JSON; every other path nothing at all.
"""

import os

import uvicorn

REQUEST_ID = b"0123456789abcdef0123456789abcdef"


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    size = int(scope["path"][1:]) if scope["path"][1:].isdecimal() else 0
    body = b'"%b"' % (b"x" * (size - 2)) if size else b""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", REQUEST_ID),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        server_header=False,
    )
