"""The native HTTP interface, one file per resource."""
