"""Whether a log is the one from which the states and the audit stem. Pure."""

from schemas.domain.policy import Rules
from schemas.kafka.source_record import SourceRecord
from worker.recovery.errors import OtherLogError
from worker.recovery.evidence import PartitionEvidence
from worker.recovery.plan import recreated


class LogIdentity:
    """Compares a log with the places from which states, audit rows and rules stem.

    Attributes:
        recognised: whether the log holds a record from which a state or a row stems.
    """

    def __init__(self, evidence: PartitionEvidence) -> None:
        self.recognised = False
        self._partition = evidence.partition
        self._rules = evidence.history.rules()
        history, audit = evidence.history, evidence.audit
        # The log must hold a record of this tenant at this offset.
        self._tenants = {command.offset: command.key[0] for command in audit.judged}
        self._tenants |= audit.stems | history.stems
        highest = ((tenant, versions.highest) for tenant, versions in history.tenants.items())
        self._tenants |= {version.offset: tenant for tenant, version in highest if version.value is not None}

    def check_record(self, record: SourceRecord) -> None:
        """Compare a record of the log.

        Raises:
            OtherLogError: if it is another tenant's record than that from which a state or a row stems.
        """
        tenant = self._tenants.get(record.offset)
        if tenant is None:
            return
        if record.key != tenant.encode():
            raise OtherLogError(
                f"tenant {tenant} has a state from {self._partition}:{record.offset}, where the log holds another "
                f"tenant's record: {recreated(self._partition)}"
            )
        self.recognised = True

    def check_rules(self, rules: Rules) -> None:
        """Compare rules that the log holds.

        Raises:
            OtherLogError: if the states topic has other rules of this number.
        """
        if rules.number < len(self._rules) and self._rules[rules.number].digest != rules.digest:
            raise OtherLogError(
                f"partition {self._partition}: rules {rules.number} in the log are not those on the states topic: "
                f"{recreated(self._partition)}"
            )
