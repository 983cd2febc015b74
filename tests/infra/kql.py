"""What can be said of a Kusto query without Kusto: that its brackets match, and that it knows every name it uses.

The queries run on an Application Insights component, whose table of metrics is `customMetrics`:
https://learn.microsoft.com/azure/azure-monitor/app/convert-classic-resource#table-structure
"""

import re
from dataclasses import dataclass

from medtech.telemetry.instruments import INSTRUMENTS

METRICS = {each.name: set(each.dimensions) for each in INSTRUMENTS}
"""The app's metrics and their dimensions."""

VALUES = {
    "outcome": {"completed", "put", "heldUp", "failed"},
    "scope": {"tick", "shard"},
    "severity": {"Warning", "Error", "Critical"},
}
"""Of dimensions that queries compare with."""

COLUMNS = {"timestamp", "name", "valueSum", "valueCount", "valueMin", "valueMax", "customDimensions"}
OPERATORS = {"where", "project", "extend", "summarize", "order", "render"}
FUNCTIONS = {
    *("bin", "coalesce", "countif", "max", "max_of", "percentilew", "strcat", "sum", "sumif", "tolong", "tostring"),
    *("datatable", "in"),
}
WORDS = {
    *(
        "let",
        "union",
        "in",
        "isfuzzy",
        "true",
        "by",
        "and",
        "or",
        "desc",
        "asc",
        "timechart",
        "columnchart",
        "customMetrics",
    ),
    *("datetime", "string", "real", "dynamic"),
}
PAIRS = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True, slots=True)
class Query:
    text: str

    @property
    def metrics(self) -> set[str]:
        """Those that it names regardless of case, whether or not they exist: the SDK writes them in small letters."""
        compared = re.findall(r"\bname (?:=~|in~) (\([^)]*\)|'[^']*')", self.text)
        return {metric for each in compared for metric in re.findall(r"'([^']*)'", each)}

    @property
    def dimensions(self) -> set[str]:
        return set(re.findall(r"\bcustomDimensions\.(\w+)", self.text))

    @property
    def columns(self) -> set[str]:
        """Those that it makes."""
        return set(re.findall(r"\b(\w+) = ", self.text))

    def faults(self) -> list[str]:
        if not self.metrics:
            return ["names no metric"]
        known: set[str] = set().union(*(METRICS.get(metric, set()) for metric in self.metrics))
        found = [f"{metric} is no metric" for metric in sorted(self.metrics - set(METRICS))]
        found += [f"{each} is no dimension of {', '.join(sorted(self.metrics))}" for each in self.dimensions - known]
        return found + self._unbalanced() + self._unknown_words() + self._unknown_values()

    def _without_texts(self) -> str:
        return re.sub(r"'[^']*'", "''", self.text)

    def _unbalanced(self) -> list[str]:
        if self.text.count("'") % 2:
            return ["a text is not closed"]
        opened: list[str] = []
        for sign in re.findall(r"[()\[\]{}]", self._without_texts()):
            if sign not in PAIRS:
                opened.append(sign)
            elif not opened or opened.pop() != PAIRS[sign]:
                return [f"{sign} closes nothing"]
        return [f"{sign} is not closed" for sign in opened]

    def _unknown_words(self) -> list[str]:
        text = re.sub(r"\bcustomDimensions\.\w+", "customDimensions", self._without_texts())
        stages = set(re.findall(r"\|\s*(\w*)", text))
        calls = set(re.findall(r"\b([a-zA-Z_]\w*)\s*\(", text)) - WORDS - OPERATORS
        words = set(re.findall(r"(?<![\w.])[a-zA-Z_]\w*", text)) - stages - calls
        found = [f"{each} is no operator" for each in sorted(stages - OPERATORS)]
        found += [f"{each}() is no function" for each in sorted(calls - FUNCTIONS)]
        return found + [f"{each} is not known" for each in sorted(words - COLUMNS - WORDS - OPERATORS - self.columns)]

    def _unknown_values(self) -> list[str]:
        texts = set(re.findall(r"'([^']*)'", self.text)) - self.metrics
        values = set().union(*VALUES.values()) | {" "}
        return [f"{each!r} is neither a metric nor a value of a dimension" for each in sorted(texts - values)]
