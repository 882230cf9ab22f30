"""The one place where events come to be: maps, decides, numbers, appends."""
