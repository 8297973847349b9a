"""The joints that SMPL and SMPL-X share, in their order."""

from __future__ import annotations

BODY_JOINTS = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
)
"""The 22 joints of both; `body_pose` of SMPL-X holds all but the first."""

HANDS = ("left_hand", "right_hand")
"""Joints 22 and 23 of SMPL; SMPL-X continues with jaw, eyes and fingers instead."""

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""Parent of each of the 24 joints of SMPL; the first 22 hold for SMPL-X too."""
