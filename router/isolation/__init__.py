"""Who can reach what in the image that boots: from its capabilities, compared with its description and the plan."""
