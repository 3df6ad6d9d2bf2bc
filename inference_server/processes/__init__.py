"""Instances of a model in processes of their own. The child imports only this folder and what its model needs."""
