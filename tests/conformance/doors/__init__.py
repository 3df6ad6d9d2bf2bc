"""The ways into Candela: each takes a call and tells what came back, all in the same words."""
