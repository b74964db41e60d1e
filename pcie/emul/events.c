/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What happens to the emulated SSD by itself: it gets too hot, its namespaces change. Each is told
 * by an asynchronous event (Base 5.2). Main thread; workers only say that the time has come.
 */
#include "pcie/emul/events.h"

#include "pcie/emul/state.h"
#include "util/log.h"
#include "util/num.h"

#define ANY_CONFIGURATION UINT32_MAX /* errors cannot be configured away */

static void raise_event(struct emul *emul, uint32_t enabled_by, uint32_t dw0)
{
	if ((enabled_by != ANY_CONFIGURATION && !(emul->features[NVME_FEAT_AEC] & enabled_by)) ||
	    !atomic_load(&emul->sq[0].enabled))
		return;
	if (!emul->n_aers) {
		emul->event = dw0;
		return;
	}
	emul_post(&emul->sq[0], emul->aers[--emul->n_aers], 0, dw0);
	emul_signal(emul, &emul->cq[0]); /* no doorbell, so nobody looks by itself */
}

uint16_t emul_async_event(struct emul *emul, const struct nvme_sqe *sqe, uint32_t *ret_dw0)
{
	if (emul->event) {
		*ret_dw0 = emul->event;
		emul->event = 0;
		return 0;
	}
	if (emul->n_aers == EMUL_AERS)
		return NVME_SC_AER_LIMIT | NVME_STATUS_DNR;
	emul->aers[emul->n_aers++] = le16_get(sqe->cid);
	return EMUL_PENDING;
}

static void too_hot(struct loop_msg *msg)
{
	struct emul *emul = container_of(msg, struct emul, smart_msg);

	emul->critical_warning |= NVME_SMART_TEMPERATURE;
	raise_event(emul, NVME_SMART_TEMPERATURE, /* it is enabled by the bit that it sets */
		    NVME_AER_DW0(NVME_AER_SMART, NVME_AER_SMART_TEMPERATURE, NVME_LOG_SMART));
}

static void internal_error(struct loop_msg *msg)
{
	struct emul *emul = container_of(msg, struct emul, error_msg);

	raise_event(emul, ANY_CONFIGURATION,
		    NVME_AER_DW0(NVME_AER_ERROR, NVME_AER_ERROR_PERSISTENT, NVME_LOG_ERROR));
}

static void namespaces_changed(struct emul *emul)
{
	raise_event(emul, NVME_AEC_NS_ATTR,
		    NVME_AER_DW0(NVME_AER_NOTICE, NVME_AER_NOTICE_NS_CHANGED, NVME_LOG_CHANGED_NS));
}

static void change_namespaces(struct loop_msg *msg)
{
	struct emul *emul = container_of(msg, struct emul, ns_msg);
	const struct emul_faults *faults = &emul->options.faults;

	if (faults->shrink_after)
		atomic_store(&emul->ns_blocks, num_max(emul->ns_blocks / 2, UINT64_C(1)));
	if (faults->detach_after)
		atomic_store(&emul->n_ns, emul->options.namespaces - 1);
	if (faults->attach_after)
		atomic_store(&emul->n_ns, emul->options.namespaces);
	namespaces_changed(emul);
}

static bool due(unsigned after, unsigned n_commands)
{
	return after && n_commands > after;
}

void emul_events_count(struct emul *emul, unsigned n_commands)
{
	const struct emul_faults *faults = &emul->options.faults;

	if (!emul->watch_loop)
		return;
	if (due(faults->smart_after, n_commands) && !atomic_exchange(&emul->smart_told, true))
		loop_post(emul->watch_loop, &emul->smart_msg, too_hot);
	if (due(faults->internal_after, n_commands) && !atomic_exchange(&emul->error_told, true))
		loop_post(emul->watch_loop, &emul->error_msg, internal_error);
	if ((due(faults->shrink_after, n_commands) || due(faults->detach_after, n_commands) ||
	     due(faults->attach_after, n_commands)) &&
	    !atomic_exchange(&emul->ns_told, true))
		loop_post(emul->watch_loop, &emul->ns_msg, change_namespaces);
}

/* Somebody may have made the file larger, or smaller, since. Only when it is one namespace: others
 * lie behind the first. */
void emul_follow_medium(struct emul *emul)
{
	uint64_t blocks;

	if (emul->options.namespaces != 1 || !emul_media_resized(&emul->options, &emul->media))
		return;
	blocks = emul->media.size / emul->block_bytes;
	log_info("%s: its medium has %llu blocks now", emul->dev.name, (unsigned long long)blocks);
	atomic_store(&emul->ns_blocks, blocks);
}
