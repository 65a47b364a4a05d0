"""The state machine: state, identity, nodes, routes, prompts, models, and the whole agent."""
