"""What one may change: a sample (`perturbations`), and what is fed as latents (`replacements`).

Both are plug-in points: functions under a name, with what they declare about themselves, which
every call is held to. Perturbations know no torch. `asking` reads what a plug-in is told, such as
`noise:scale=0.3`; `boxes` finds regions of a picture.
"""
