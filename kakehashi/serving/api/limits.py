"""Who may ask, and how much: API keys, and rates by key or by address.

A rate counts what was let through in the time before now, kept in steps of a sixtieth of its period, each forgotten
when all of it is older than that: never more than the limit passes in any period of that length, and a client needs
60 numbers a rate, however much it asks. Nothing of this leaves the memory of the process.
"""

import hashlib
import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import Field, PositiveInt, SecretStr

from kakehashi.config import Config
from kakehashi.serving.api import messages
from kakehashi.serving.api.refusals import Refusal, later

STEPS = 60
CLIENTS = 100_000  # whose use is remembered; who has not asked for longest is forgotten first

Period = Literal["minute", "hour", "day"]
SECONDS: dict[Period, int] = {"minute": 60, "hour": 3_600, "day": 86_400}


@dataclass(frozen=True)
class Rate:
    limit: int
    period: Period


class Allowance(Config):
    """What one client may send; null: no limit."""

    characters: PositiveInt | None = Field(default=None, description="Characters of one text; null: no limit.")
    minute: PositiveInt | None = Field(
        default=None, description="Texts that a key, or an address without one, may send in a minute; null: no limit."
    )
    hour: PositiveInt | None = Field(default=None, description="The same in an hour.")
    day: PositiveInt | None = Field(default=None, description="The same in a day.")

    def rates(self) -> tuple[Rate, ...]:
        limits: tuple[tuple[int | None, Period], ...] = (
            (self.minute, "minute"),
            (self.hour, "hour"),
            (self.day, "day"),
        )
        return tuple(Rate(limit, period) for limit, period in limits if limit is not None)


class Limits(Allowance):
    """How much one request and one client may ask for."""

    batch: PositiveInt | None = Field(default=None, description="Texts of one request; null: no limit.")
    alternatives: int = Field(default=8, ge=0, le=64, description="Alternatives of one text.")
    glossary: int = Field(default=1_000, ge=0, description="Terms of one request's glossary.")
    body: PositiveInt = Field(default=16 << 20, description="Bytes of one request's body.")
    flood: PositiveInt | None = Field(
        default=None,
        description="After how many requests beyond a rate, in an hour, a client is shut out; null: never.",
    )


class Key(Allowance):
    """A key that clients may send; what it leaves out is as for a client without a key."""

    key: SecretStr

    def over(self, general: Allowance) -> Allowance:
        pairs = (pair for allowance in (general, self) for pair in allowance if pair[1] is not None)
        return Allowance(**{name: value for name, value in pairs if name in Allowance.model_fields})


class Access(Config):
    """Who may use the server."""

    keys: tuple[Key, ...] = Field(
        default=(),
        description="The keys that are known: a list of `{key: ..., characters: ..., minute: ..., hour: ..., day: ...}`"
        " with limits of their own. Where there is one, a key that is not known is refused.",
    )
    required: bool = Field(default=False, description="Whether a request without a key is refused.")
    link: str | None = Field(default=None, description="Where one gets a key: told to who has none.")


class Usage:
    """What one client has used of one rate: number and cost of each step that still counts, oldest first."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._seconds = SECONDS[rate.period]
        self._used: deque[tuple[int, int]] = deque()

    def wait(self, cost: int, now: float) -> float:
        """Seconds until `cost` more would be within the rate: 0 where it is, a whole period where it never is."""
        while self._used and self._forgotten(self._used[0][0]) <= now:
            self._used.popleft()
        total = sum(used for _, used in self._used)
        if total + cost <= self.rate.limit:
            return 0.0
        for number, used in self._used:
            total -= used
            if total + cost <= self.rate.limit:
                return self._forgotten(number) - now
        return float(self._seconds)

    def add(self, cost: int, now: float) -> None:
        number = int(now * STEPS // self._seconds)
        if self._used and self._used[-1][0] == number:
            cost += self._used.pop()[1]
        self._used.append((number, cost))

    def _forgotten(self, number: int) -> float:
        """When the last moment of a step is older than the period."""
        return (number + 1 + STEPS) * self._seconds / STEPS


@dataclass(frozen=True)
class Client:
    """Who asks, as far as limits go. `name`, an address or a key's hash, never leaves the process."""

    name: str
    allowance: Allowance


class _Record(NamedTuple):
    usages: tuple[Usage, ...]
    violations: Usage | None


class Gate:
    """Knows the clients, and lets them through or not."""

    def __init__(self, limits: Limits, access: Access, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._access, self._clock = limits, access, clock
        self._allowances = {hashed(key.key.get_secret_value()): key.over(limits) for key in access.keys}
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def client(self, key: str | None, address: str) -> Client:
        """By a known key, else by the address; of IPv6 the network of 64 bits, which one subscriber has to himself."""
        name = hashed(key) if key else ""
        if name in self._allowances:
            return Client(name, self._allowances[name])
        return Client(_network(address), self._limits)

    def count(self, client: Client, cost: int) -> None:
        """Counts `cost` texts. Raises Refusal where they are too many (429), or the client is shut out (403)."""
        now, record = self._clock(), self._record(client)
        waits = [(usage.wait(cost, now), usage.rate) for usage in record.usages]
        if waits and (longest := max(waits, key=lambda each: each[0]))[0] > 0:
            if record.violations:
                record.violations.add(1, now)
            wait, rate = longest
            raise later(429, messages.SLOWDOWN[rate.period], wait, limit=rate.limit)
        if record.violations and record.violations.wait(1, now) > 0:
            raise Refusal(403, messages.SHUT_OUT)
        for usage in record.usages:
            usage.add(cost, now)

    def check(self, key: str | None) -> None:
        """Raises Refusal where a key is not known (403), or there is none and one is required (400)."""
        if key and self._allowances and hashed(key) not in self._allowances:
            raise Refusal(403, messages.WRONG_KEY)
        if self._access.required and not key:
            link = self._access.link
            raise Refusal(400, messages.KEY_FROM_LINK if link else messages.KEY_FROM_OPERATOR, link=link)

    def _record(self, client: Client) -> _Record:
        record = self._records.get(client.name)
        if record is None:
            flood = Usage(Rate(self._limits.flood, "hour")) if self._limits.flood else None
            record = self._records[client.name] = _Record(tuple(map(Usage, client.allowance.rates())), flood)
            if len(self._records) > CLIENTS:
                self._records.popitem(last=False)
        self._records.move_to_end(client.name)
        return record


def hashed(key: str) -> str:
    """A key as it is compared: how long that takes tells nothing of the key itself."""
    return hashlib.sha256(key.encode()).hexdigest()


def _network(address: str) -> str:
    try:
        network = ipaddress.ip_network(address).supernet(new_prefix=64) if ":" in address else None
    except ValueError:  # a scope (fe80::1%eth0), or a socket without an address
        network = None
    return str(network or address)
