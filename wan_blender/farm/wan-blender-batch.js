// SPDX-License-Identifier: GPL-3.0-or-later
// Job type for Flamenco 3: one task for each list of a batch, made by
// `python -m wan_blender.farm template DIR --to flamenco`. Copy it into the manager's scripts folder.

const JOB_TYPE = {
    label: "Wan Blender Batch",
    description: "Generate the jobs of an exported batch; each task keeps one model loaded",
    settings: [
        { key: "batch_dir", type: "string", required: true,
          description: "Folder of the batch, as the workers call it; variables are replaced" },
        { key: "python", type: "string", required: true, default: "python",
          description: "Python of the engine's environment on the workers" },
        { key: "package_dir", type: "string", required: false, default: "",
          description: "Folder that holds wan_blender, where that Python does not find it" },
        { key: "paths", type: "string", required: false, default: "",
          description: "FROM=TO;FROM=TO for paths inside the jobs (WAN_BLENDER_PATHS)" },
        { key: "wait_s", type: "int32", required: false, default: 600,
          description: "Seconds to wait for jobs that another worker holds" },
        { key: "chunks", type: "string", required: true, visible: "web",
          description: "Names of the lists and how many jobs each has, as JSON" },
    ],
};

function compileJob(job) {
    const settings = job.settings;
    for (const [name, count] of JSON.parse(settings.chunks)) {
        const task = author.Task(`${name.replace(".txt", "")} (${count} jobs)`, "misc");
        task.addCommand(author.Command("exec", {
            exe: settings.python,
            args: argumentsFor(settings, `${settings.batch_dir}/.chunks/${name}`),
        }));
        job.addTask(task);
    }
}

// Workers set no environment variables: a line of Python does, and then runs the engine.
function argumentsFor(settings, list) {
    const start = [
        "import os, runpy, sys",
        "package, paths = sys.argv[1:3]",
        "sys.path[:0] = [package] if package else []",
        "os.environ.update({'WAN_BLENDER_PATHS': paths} if paths else {})",
        "sys.argv = ['wan_blender.engine', *sys.argv[3:]]",
        "runpy.run_module('wan_blender.engine', run_name='__main__', alter_sys=True)",
    ].join("; ");
    return ["-u", "-c", start, settings.package_dir, settings.paths,
            "run", "--list", list, "--wait", String(settings.wait_s)];
}
