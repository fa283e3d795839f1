# SPDX-License-Identifier: BSD-2-Clause
"""Reports of a plan, for people and programs: JSON, pictures, one HTML page, and the isolation matrix."""

from router.report.memory import memory_svg
from router.report.page import report_html
from router.report.plan import plan_json
from router.report.topology import topology_svg

__all__ = ["memory_svg", "plan_json", "report_html", "topology_svg"]
