from hypothesis import settings

# Machines that do other things at the same time are slow at times; that is no failure of ours.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
