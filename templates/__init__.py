"""Jinja2 templates: HLS C++, harnesses, project files, the report page."""
