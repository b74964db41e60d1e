/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests that change something; see command.h. Each is logged: it is an operator's doing. */
#include "config/command.h"

#include <string.h>

#include "config/daemon.h"
#include "config/report.h"
#include "pcie/ctrl.h"
#include "target/subsystem.h"
#include "util/check.h"
#include "util/log.h"

static json_t *rescan(struct daemon *daemon, const json_t *request)
{
	const json_t *ssd_name = json_object_get(request, "ssd");
	const char *name = json_string_value(ssd_name);
	unsigned n = 0;

	if (ssd_name && !name)
		return report_error("expected \"ssd\": a name, or nothing for all");

	for (unsigned i = 0; i < daemon->n_ssds; i++) {
		struct daemon_ssd *ssd = &daemon->ssds[i];

		if (name && strcmp(name, ssd->conf->name) != 0)
			continue;
		if (nvme_ctrl_rescan(ssd->ctrl) == 0 || nvme_ctrl_retry(ssd->ctrl) == 0 ||
		    apply_look_now(ssd) == 0)
			n++;
		else if (name)
			return report_error("the SSD is not ready");
	}
	if (name && n == 0)
		return report_error("no SSD has this name");
	log_info("control: looking at the namespaces of %u SSDs again", n);
	return json_pack("{s:i}", "ssds", n);
}

static json_t *set_namespace(struct daemon *daemon, const json_t *request)
{
	const char *nqn = json_string_value(json_object_get(request, "subsystem"));
	const json_t *enabled = json_object_get(request, "enabled");
	json_int_t nsid = json_integer_value(json_object_get(request, "nsid"));
	struct nvmet_subsystem *subsys = nqn ? nvmet_target_find(&daemon->target, nqn) : NULL;

	if (!subsys)
		return report_error("no subsystem has this NQN");
	if (nsid < 1 || nsid > NVMET_MAX_NSID || !subsys->ns[nsid])
		return report_error("the subsystem has no such namespace");
	if (!json_is_boolean(enabled))
		return report_error("expected \"enabled\": true or false");
	log_info("control: namespace %u of %s: %s", (unsigned)nsid, nqn,
		 json_is_true(enabled) ? "enabled" : "disabled");
	nvmet_ns_enable(subsys->ns[nsid], json_is_true(enabled));
	return json_pack("{s:b}", "active", nvmet_ns_is_active(subsys->ns[nsid]));
}

json_t *command(struct daemon *daemon, const char *name, const json_t *request)
{
	static const struct {
		const char *name;
		json_t *(*run)(struct daemon *daemon, const json_t *request);
	} commands[] = {
		{ "rescan", rescan },
		{ "namespace", set_namespace },
	};

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return commands[i].run(daemon, request);
	}
	return NULL;
}
