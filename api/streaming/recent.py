"""The latest records of one partition of the transitions topic, at hand for streams."""

from collections import OrderedDict, defaultdict, deque

from api.streaming.rows import Row


class RecentRows:
    """Records without a gap from offset `start` to offset `next`.

    Attributes:
        heard: the place of each of them among the records of all partitions, in the order in which they came.
    """

    def __init__(self, start: int) -> None:
        self.start = start
        self.next = start
        self.rows: OrderedDict[int, Row] = OrderedDict()
        self.heard: deque[int] = deque()
        self.of_tenant: defaultdict[str, deque[Row]] = defaultdict(deque)

    def add(self, row: Row, number: int) -> None:
        """Take the next record, which is the `number`th of all partitions."""
        self.next = row.offset + 1
        self.heard.append(number)
        self.rows[row.offset] = row
        if row.shown:
            self.of_tenant[row.tenant].append(row)

    def drop_oldest(self) -> Row:
        """Let the oldest record go, and return it."""
        self.heard.popleft()
        _, old = self.rows.popitem(last=False)
        self.start = old.offset + 1
        if old.shown:
            rows = self.of_tenant[old.tenant]
            rows.popleft()
            if not rows:
                del self.of_tenant[old.tenant]
        return old
