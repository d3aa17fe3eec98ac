"""Masks that others predicted: read in any form, matched with a prepared split, scored and recorded."""
