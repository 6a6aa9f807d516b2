"""A million waiting mails of 50 companies, one of which has nine tenths of them.

Looking: what one look costs with 1, 10, 100 and 1,000 thousand rows in the queue, waiting or sent
long ago. Then the daemon at work for a while: its memory, when every small company's first mail
left, and how fairly the companies were served from then on (Jain's index, 1 is equal).
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from sqlalchemy import text

from benchmarks.latency import recording_sink
from benchmarks.site import BenchSite, bench_site, durable_server, resident_bytes
from sidecar.pollers.peek import Peek
from tests.support.mariadb import MariaDBServer
from tests.support.processes import Sidecar

COMPANIES, BIG = 50, 1
ENABLED = 5
"""Companies of the first part: their mails are remembered, the others' passed over."""
SIZES = (1_000, 10_000, 100_000, 1_000_000)


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``backlog`` to the benchmarks."""
    parser = commands.add_parser("backlog", help=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000, help="mails that wait")
    parser.add_argument(
        "--middle",
        action="store_true",
        help="the small companies' mails lie in the middle of the queue, not at its lower end",
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the daemon works")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    with durable_server() as server:
        looks = {str(size): look(server, size) for size in SIZES if size <= options.rows}
        measured = {"look_ms": looks, **work(server, options)}
    if options.json:
        print(json.dumps(measured, indent=2))
    else:
        for name, value in measured.items():
            print(f"{name}: {value}")


def fill(made: BenchSite, rows: int, sent: str = "NULL", *, middle: bool = False) -> None:
    """The big company's mails came later than those of the small ones, or before and later."""
    small = rows // 10
    first = (rows - small) // 2 if middle else 1
    made.sql(
        "INSERT INTO mdl_user (username, firstname, lastname, email, password, mnethostid)"
        " SELECT CONCAT('b', seq), 'Big', 'Queue', CONCAT('b', seq, '@example.test'), 'x', 1"
        f" FROM seq_1_to_{rows}"
    )
    made.sql(
        "INSERT INTO mdl_company_users (companyid, userid, departmentid) SELECT"
        f" IF(n BETWEEN {first} AND {first + small - 1}, 2 + n MOD {COMPANIES - 1}, {BIG}), id, 1"
        " FROM"
        " (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS n FROM mdl_user"
        "  WHERE username LIKE 'b%') numbered"
    )
    made.sql(
        "INSERT INTO mdl_email (templatename, modifiedtime, subject, body, varsreplaced, companyid,"
        " courseid, userid, senderid, headers, due, sent)"
        " SELECT 'user_create', UNIX_TIMESTAMP() - 60, 'Welcome', REPEAT('<p>0123456</p>', 70), 1,"
        f" companyid, 1, userid, -20, :headers, UNIX_TIMESTAMP() - 60, {sent}"
        " FROM mdl_company_users WHERE userid > 2 ORDER BY userid",
        headers=made.site.headers("user_create", BIG),
    )


def look(server: MariaDBServer, rows: int) -> dict[str, float]:
    """Median milliseconds of a look that finds twelve new mails.

    They must be found.
    """
    found = {}
    for name, sent in (("waiting", "NULL"), ("sent", "1")):
        with bench_site(server, companies=COMPANIES) as made:
            fill(made, rows, sent)
            peek = Peek(made.site.tables, {})

            def wanted(company: int) -> bool:
                return company <= ENABLED

            people = made.site.add_users(BIG, 12)
            spent = []
            with made.engine.connect() as conn:
                while not peek.walked:
                    peek.look(conn, wanted, lambda _: False)
                    conn.commit()
                for _ in range(21):
                    made.site.queue("user_create", 2, people)
                    began = time.perf_counter()
                    peek.look(conn, wanted, lambda _: False)
                    spent.append(time.perf_counter() - began)
                    conn.commit()
                if sent != "NULL" and len(peek.waiting) != 21 * len(people):
                    sys.exit(f"{len(peek.waiting)} rows were found")
        found[name] = round(statistics.median(spent) * 1000, 2)
    return found


def work(server: MariaDBServer, options: argparse.Namespace) -> dict[str, object]:
    """The daemon on the whole backlog, for a while."""
    with (
        tempfile.TemporaryDirectory() as folder,
        recording_sink(Path(folder, "record")) as (port, record),
        bench_site(server, companies=COMPANIES, smtphosts=f"127.0.0.1:{port}") as made,
    ):
        fill(made, options.rows, middle=options.middle)
        for company in range(1, COMPANIES + 1):
            made.run("company", "set", str(company), "--provider", "smtp", "--enable")
        with Sidecar(made.config) as daemon:
            daemon.wait_for_line("leading this site")
            began = time.time()
            memory = watch(daemon.pid, options.seconds)
            daemon.stop()
        company_of = companies(made)
        first: dict[int, float] = {}
        sent = 0
        served: Counter[int] = Counter()
        for line in record.open():
            mail = json.loads(line)
            company = company_of[mail["rcpt"][0]]
            first.setdefault(company, mail["at"] - began)
            sent += 1
            served[company] += len(first) == COMPANIES
    half, end = memory[len(memory) // 2 :], max(memory)
    shares = [served[company] for company in range(1, COMPANIES + 1)]
    return {
        "rows": options.rows,
        "sent": sent,
        "companies_served": len(first),
        "last_first_mail_s": round(max(first.values(), default=0.0), 1),
        "jain": round(sum(shares) ** 2 / max(1, len(shares) * sum(n * n for n in shares)), 3),
        "peak_memory_mb": round(end / 1e6, 1),
        "growth_in_second_half_mb": round((max(half) - half[0]) / 1e6, 1),
    }


def watch(pid: int, seconds: float) -> list[int]:
    """Resident bytes of the daemon and its processes, twice a second."""
    found, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        found.append(resident_bytes(pid))
        time.sleep(0.5)
    return found


def companies(made: BenchSite) -> dict[str, int]:
    """Address → company."""
    query = text(
        "SELECT u.email, c.companyid FROM mdl_company_users c JOIN mdl_user u ON u.id = c.userid"
    )
    with made.engine.connect() as conn:
        return {row.email: row.companyid for row in conn.execute(query)}
