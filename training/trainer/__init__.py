"""The trainer's parts; started by training/simple_multi_human_trainer.py."""
