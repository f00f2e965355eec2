"""Declarative, budget-safe batch image generation."""
