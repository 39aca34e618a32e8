#!/usr/bin/python3
"""proxy.py LISTEN UPSTREAM DIR: what stands between everybody and nova-api.

Forwards each request as it came and the answer as it comes. A backend that isn't there gives 503, as behind
any load balancer. Writes are noted in DIR/writes.jsonl: what was asked of Nova, when, from where, and its answer. While
DIR/note-reads exists, reads are noted in DIR/reads.jsonl.
While DIR/lose-answer exists, an evacuation that Nova accepted is never answered: the connection is closed. The
file holds how many answers to lose, or "all".
"""
import asyncio, json, pathlib, re, signal, sys, time

DOWN = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nno nova-api behind this proxy\n"
REQUEST_S = 60    # for a client to send its request
ANSWER_S = 300    # for Nova to answer: longer than its own rpc_response_timeout


async def read_request(reader):
    """Returns head and body as they came, or None if the client closed."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    low, body = head.lower(), b""
    if length := re.search(rb"\r\ncontent-length: *(\d+)", low):
        body = await reader.readexactly(int(length[1]))
    elif re.search(rb"\r\ntransfer-encoding: *chunked", low):
        while not body.endswith(b"0\r\n\r\n"):
            body += await reader.readuntil(b"\r\n")
    return head, body


def take_lost_answer(directory):
    """True if this answer is to be lost; counts down."""
    armed = directory / "lose-answer"
    try:
        left = armed.read_text().strip()
    except FileNotFoundError:
        return False
    if left != "all":
        if int(left) <= 1:
            armed.unlink(missing_ok=True)
        else:
            armed.write_text(str(int(left) - 1))
    return True


def note(directory, writer, line, body, answer, lost, began):
    method, path = line.split()[:2]
    status = answer[9:12].decode("ascii", "replace")
    with open(directory / ("reads.jsonl" if method in ("GET", "HEAD") else "writes.jsonl"), "a") as f:
        f.write(json.dumps({"time": round(began, 3), "took": round(time.time() - began, 3), "from": writer.get_extra_info("peername", "?")[0],
                            "method": method, "path": path, "body": body[:2000].decode("utf-8", "replace"),
                            "status": int(status) if status.isdigit() else 0, "lost": lost}) + "\n")


async def serve(upstream, directory, reader, writer):
    try:
        got = await asyncio.wait_for(read_request(reader), REQUEST_S)
        if got is None:
            return
        began, (head, body) = time.time(), got
        line = head.split(b"\r\n", 1)[0].decode("latin-1")
        writes = not line.startswith(("GET ", "HEAD "))
        evacuates = line.startswith("POST ") and "/action" in line and body.lstrip().startswith(b"{") and b'"evacuate"' in body
        try:
            up_reader, up_writer = await asyncio.open_connection(*upstream)
        except OSError:
            writer.write(DOWN)
            if writes:
                note(directory, writer, line, body, DOWN, False, began)
            return await writer.drain()
        try:
            up_writer.write(re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head[:-4]) + b"\r\nConnection: close\r\n\r\n" + body)
            await up_writer.drain()
            if not writes:
                answer = b""
                while chunk := await asyncio.wait_for(up_reader.read(65536), ANSWER_S):
                    answer = answer or chunk
                    writer.write(chunk)
                    await writer.drain()
                if (directory / "note-reads").exists():
                    note(directory, writer, line, body, answer, False, began)
                return
            answer = await asyncio.wait_for(up_reader.read(), ANSWER_S)
        finally:
            up_writer.close()
        lost = evacuates and answer[9:10] == b"2" and take_lost_answer(directory)
        note(directory, writer, line, body, answer, lost, began)
        if not lost:
            writer.write(answer)
            await writer.drain()
    except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as e:
        print(f"{time.strftime('%FT%T')} {type(e).__name__}: {e}", flush=True)
    finally:
        writer.close()


async def main():
    listen, upstream = (a.rsplit(":", 1) for a in sys.argv[1:3])
    directory = pathlib.Path(sys.argv[3])
    directory.mkdir(parents=True, exist_ok=True)
    server = await asyncio.start_server(lambda r, w: serve(upstream, directory, r, w), listen[0], int(listen[1]), backlog=256)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.close)
    try:
        async with server:
            await server.serve_forever()
    except asyncio.CancelledError:
        pass

asyncio.run(main())
