from taxiway_left_out import LeftOutError

raise LeftOutError("google-cloud-aiplatform")
