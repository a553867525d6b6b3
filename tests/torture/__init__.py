"""Whatever dies or fails in the midst of a deployment: is a matching pair left, and does the next pass finish?"""
