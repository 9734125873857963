"""What new rules would change, for people and for machines."""

from schemas.domain.explanation import notes_on
from schemas.domain.policy import Rules
from sleepctl.ui.output import console, print_json
from worker.recovery.rules_trial import EXAMPLES, Trial


def print_trial(trial: Trial, rules: Rules, *, as_json: bool) -> None:
    """Print the counts of a trial of these rules."""
    document = trial.as_json()
    notes = notes_on(rules.policy)
    if as_json:
        print_json({"digest": rules.digest, **document, "notes": notes})
        return
    out = console()
    out.print(f"rules {rules.digest} would change the state of {document['changed']:,} of {trial.tenants:,} tenants")
    for change in document["changes"]:
        more = ", …" if change["tenants"] > EXAMPLES else ""
        out.print(
            f"  {change['from']:>6} → {change['to']:<6}  {change['tenants']:,}: {', '.join(change['examples'])}{more}"
        )
    for change in document["decided_only"]:
        out.print(f"  decided only (dry run of a policy): {change['from']} → {change['to']}  {change['tenants']:,}")
    out.print(f"  parameters only: {trial.parameters:,}; records that retire at once: {trial.retired:,}")
    for note in notes:
        out.print(f"note: {note}")
    out.print("nothing was written; without --dry-run the rules are applied")
