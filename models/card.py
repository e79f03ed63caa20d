"""Writes the model card: what the model is for, what it was trained on, and what it is honestly worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from models.evaluate import REWARDS, Evaluation, PolicyReport
from models.hillstrom import Experiment
from models.offpolicy import Estimate

TITLES = {
    "model": "**the model chooses**",
    "always_mens": "always the men's e-mail (best single e-mail)",
    "always_womens": "always the women's e-mail",
    "match_goods": "the e-mail that matches what was bought",
    "uniform_emails": "a coin toss between the two e-mails",
    "send_nothing": "send nothing",
}


def card(found: Evaluation, experiment: Experiment) -> str:
    return f"""# Model card: `response` version 1

**What it predicts.** The probability that a customer visits the shop within two weeks of getting a message, from what
is known of the customer and whether the message is about men's or women's goods. Used by the demo's placement
`weekly_offer` to rank `mens_email` and `womens_email`.

**What it is.** LightGBM, 100 trees of at most 7 leaves, exported to ONNX; `trees.json` holds the same trees for scoring
in plain Python. Missing values are meant: every training row was seen once whole and once with gaps, so a customer of
whom nothing is known gets a score near the average.

**Training data.** "The MineThatData E-Mail Analytics And Data Mining Challenge", Kevin Hillstrom, 2008: a randomised
test of a retailer; men's e-mail, women's e-mail or none, one third each. {len(experiment):,} customers are in the file,
of whom {found.emailed:,} got an e-mail and trained the model. Inputs: `recency`, `history`, `mens`, `womens`,
`zip_code`, `newbie`, `channel` and the message's two marks. Outcomes and `history_segment` (`history` in bands) are no
inputs. The data set is not shipped; its digest is in the manifest.

{results(found)}
## Limits
- One retailer, one fortnight, the United States, 2008. The figures say nothing about another shop.
- It predicts visits, not their cause: whether to send at all is shown by the comparison with sending nothing, not by
  a score.
- `zip_code` (urban, suburban, rural) may stand for income or origin. The demo uses it because the data has it; leave it
  out where that is not acceptable.
- Retrain with `python -m models.train`; the same data and library versions give the same file, byte for byte.
"""


def results(found: Evaluation) -> str:
    """The measured part, for the card and the terminal."""
    return f"""## Is it useful?
{_verdict(found)}

Value of each policy a customer, by self-normalised inverse propensity, with 95 % intervals; all {found.customers:,}
customers, each scored by a model that was not trained on that customer. The arms were assigned at random with
probability 1/3 each.

| policy | visits, % | conversions, % | spend, USD |
|---|---|---|---|
{_rows(found, lambda report: report.values)}

The same as a difference from always sending the men's e-mail, paired customer by customer:

| policy | visits, points | conversions, points | spend, USD |
|---|---|---|---|
{_rows(found, lambda report: report.against_best)}

## Is it right?
Cross-fitted, on the {found.emailed:,} e-mailed customers; 95 % bootstrap intervals.

{_measures(found)}

| predicted | visited, 95 % interval | customers |
|---:|---|---:|
{_calibration(found)}
"""


def _verdict(found: Evaluation) -> str:
    """In words, from the intervals: never better than the figures."""
    model = found.policies["model"].against_best or {}
    beaten = [reward for reward in REWARDS if model[reward].significant]
    if beaten:
        said = f"Against the best single e-mail the model differs significantly in {', '.join(beaten)}."
    else:
        said = "Against the best single e-mail: **no significant difference**, in visits, conversions or spend."
    closing = () if beaten else ("Choosing between these two e-mails is not what earns visits here; sending one is.",)
    share = f"The model prefers the women's e-mail for {found.womens_share:.1%} of customers."
    return "\n".join((said, share, _versus_nothing(found), *closing))


def _versus_nothing(found: Evaluation) -> str:
    model, nothing = (found.policies[name].values["visit"] for name in ("model", "send_nothing"))
    # The two policies share no row, so their estimates are uncorrelated and their variances add.
    error = (model.standard_error**2 + nothing.standard_error**2) ** 0.5
    gain = Estimate(model.value - nothing.value, error)
    low, high = (100 * bound for bound in gain.interval)
    word = "a significant difference" if gain.significant else "no significant difference"
    return f"Against sending nothing: {100 * gain.value:.2f} points of visits [{low:.2f}, {high:.2f}], {word}."


def _rows(found: Evaluation, pick: Callable[[PolicyReport], Mapping[str, Estimate] | None]) -> str:
    lines = []
    for name, title in TITLES.items():
        estimates = pick(found.policies[name])
        if estimates:
            cells = " | ".join(_estimate(estimates[reward], reward) for reward in REWARDS)
            lines.append(f"| {title} | {cells} |")
    return "\n".join(lines)


def _estimate(estimate: Estimate, reward: str) -> str:
    low, high = estimate.interval
    if reward == "spend":
        return f"{estimate.value:.3f} [{low:.3f}, {high:.3f}]"
    return f"{100 * estimate.value:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def _measures(found: Evaluation) -> str:
    titles = {"auc": "AUC", "log_loss": "log-loss", "log_loss_of_the_mean": "log-loss of knowing only the overall rate"}
    return "\n".join(
        f"- {title}: {m.value:.4f} [{m.low:.4f}, {m.high:.4f}]"
        for name, title in titles.items()
        for m in (found.measures[name],)
    )


def _calibration(found: Evaluation) -> str:
    lines = []
    for tenth in found.calibration:
        low, high = tenth.visited.interval
        visited = f"{100 * tenth.visited.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        lines.append(f"| {100 * tenth.predicted:.1f} % | {visited} | {tenth.customers:,} |")
    return "\n".join(lines)
