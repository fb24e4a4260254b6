# SPDX-License-Identifier: GPL-3.0-or-later
"""One operator per file, the file named as its idname."""

from .add_hygiene_matte import WAN_OT_add_hygiene_matte
from .add_item import WAN_OT_add_item
from .add_lora import WAN_OT_add_lora
from .add_matte import WAN_OT_add_matte
from .add_model_folder import WAN_OT_add_model_folder
from .add_sampling_preset import WAN_OT_add_sampling_preset
from .bundle_engine import WAN_OT_bundle_engine
from .cancel import WAN_OT_cancel
from .clear_hygiene import WAN_OT_clear_hygiene
from .compare_hygiene import WAN_OT_compare_hygiene
from .compose_model import WAN_OT_compose_model
from .decline_model import WAN_OT_decline_model
from .dismiss_error import WAN_OT_dismiss_error
from .dismiss_job import WAN_OT_dismiss_job
from .examine_engine import WAN_OT_examine_engine
from .fetch_model import WAN_OT_fetch_model
from .find_results import WAN_OT_find_results
from .fix_schedule import WAN_OT_fix_schedule
from .generate import WAN_OT_generate
from .install_engine import WAN_OT_install_engine
from .limit_frames import WAN_OT_limit_frames
from .move_item import WAN_OT_move_item
from .open_hygiene_view import WAN_OT_open_hygiene_view
from .open_job_folder import WAN_OT_open_job_folder
from .open_log import WAN_OT_open_log
from .open_model import WAN_OT_open_model
from .place_in_compositor import WAN_OT_place_in_compositor
from .place_result import WAN_OT_place_result
from .price_model import WAN_OT_price_model
from .remove_item import WAN_OT_remove_item
from .remove_matte import WAN_OT_remove_matte
from .remove_model_folder import WAN_OT_remove_model_folder
from .report_frequencies import WAN_OT_report_frequencies
from .roll_back_engine import WAN_OT_roll_back_engine
from .run_again import WAN_OT_run_again
from .run_job import WAN_OT_run_job
from .save_treated_frame import WAN_OT_save_treated_frame
from .scan_models import WAN_OT_scan_models
from .setup_task import WAN_OT_setup_task
from .show_picture import WAN_OT_show_picture
from .show_report import WAN_OT_show_report
from .start_engine import WAN_OT_start_engine
from .stop_call import WAN_OT_stop_call
from .stop_engine import WAN_OT_stop_engine
from .stop_installation import WAN_OT_stop_installation
from .treat_hygiene import WAN_OT_treat_hygiene
from .uninstall_engine import WAN_OT_uninstall_engine
from .update_overlay import WAN_OT_update_overlay
from .use_model import WAN_OT_use_model
from .use_model_defaults import WAN_OT_use_model_defaults
from .use_stages import WAN_OT_use_stages

CLASSES = (
    WAN_OT_bundle_engine,
    WAN_OT_add_hygiene_matte,
    WAN_OT_add_item,
    WAN_OT_add_lora,
    WAN_OT_add_matte,
    WAN_OT_add_model_folder,
    WAN_OT_add_sampling_preset,
    WAN_OT_cancel,
    WAN_OT_clear_hygiene,
    WAN_OT_compare_hygiene,
    WAN_OT_compose_model,
    WAN_OT_decline_model,
    WAN_OT_dismiss_error,
    WAN_OT_dismiss_job,
    WAN_OT_examine_engine,
    WAN_OT_fetch_model,
    WAN_OT_find_results,
    WAN_OT_fix_schedule,
    WAN_OT_generate,
    WAN_OT_install_engine,
    WAN_OT_limit_frames,
    WAN_OT_move_item,
    WAN_OT_open_hygiene_view,
    WAN_OT_open_job_folder,
    WAN_OT_open_log,
    WAN_OT_open_model,
    WAN_OT_place_in_compositor,
    WAN_OT_place_result,
    WAN_OT_price_model,
    WAN_OT_remove_item,
    WAN_OT_remove_matte,
    WAN_OT_remove_model_folder,
    WAN_OT_report_frequencies,
    WAN_OT_roll_back_engine,
    WAN_OT_run_again,
    WAN_OT_run_job,
    WAN_OT_save_treated_frame,
    WAN_OT_scan_models,
    WAN_OT_setup_task,
    WAN_OT_show_picture,
    WAN_OT_show_report,
    WAN_OT_start_engine,
    WAN_OT_stop_call,
    WAN_OT_stop_engine,
    WAN_OT_stop_installation,
    WAN_OT_treat_hygiene,
    WAN_OT_uninstall_engine,
    WAN_OT_update_overlay,
    WAN_OT_use_model,
    WAN_OT_use_model_defaults,
    WAN_OT_use_stages,
)
