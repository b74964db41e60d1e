/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration file. An input is a file; whatever it says, conf_read() takes it or tells in
 * one line with the file's name what is wrong, and what it takes keeps the rules that the rest of
 * the daemon relies on.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/conf.h"
#include "pcie/dma.h"
#include "target/queue.h"
#include "target/subsystem.h"
#include "tests/fuzz/fuzz.h"
#include "util/check.h"
#include "util/num.h"

static int fd;
static char path[64];

/* libconfig does not free half a string when a file is wrong; a file is read once. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so\n";
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	log_set_level(LOG_LEVEL_ERR);
	fd = memfd_create("conf", MFD_CLOEXEC);
	must(fd >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return 0;
}

static void check_text(const char *text, size_t size)
{
	if (!memchr(text, 0, size))
		fuzz_fail("a text without an end");
}

static void check_subsystem(const struct conf *conf, const struct conf_subsystem *subsys)
{
	check_text(subsys->nqn, sizeof(subsys->nqn));
	check_text(subsys->serial, sizeof(subsys->serial));
	check_text(subsys->model, sizeof(subsys->model));
	if (!nvmet_nqn_valid(subsys->nqn))
		fuzz_fail("a subsystem without a valid name");
	for (unsigned i = 0; i < subsys->hosts.n; i++) {
		if (!nvmet_nqn_valid(subsys->hosts.host[i].nqn))
			fuzz_fail("a host without a valid name");
	}
	for (unsigned i = 0; i < subsys->n_ns; i++) {
		if (subsys->ns[i].ssd >= conf->n_ssds || !subsys->ns[i].nsid ||
		    subsys->ns[i].nsid > NVMET_MAX_NSID)
			fuzz_fail("a namespace of no SSD, or out of range");
	}
}

static void check_taken(const struct conf *conf)
{
	if (!conf->workers || !conf->n_ssds || !conf->n_listen || conf->n_ssds > CONF_MAX_SSDS ||
	    conf->n_listen > CONF_MAX_LISTEN || conf->n_subsystems > CONF_MAX_SUBSYSTEMS ||
	    !num_is_pow2(conf->max_transfer) || conf->max_transfer > DMA_BLOCK_SIZE)
		fuzz_fail("a number out of range");
	check_text(conf->control, sizeof(conf->control));
	for (unsigned i = 0; i < conf->n_ssds; i++) {
		check_text(conf->ssds[i].name, sizeof(conf->ssds[i].name));
		check_text(conf->ssds[i].spec, sizeof(conf->ssds[i].spec));
	}
	for (unsigned i = 0; i < conf->n_subsystems; i++)
		check_subsystem(conf, &conf->subsystems[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct conf conf;
	char err[512] = "";
	int result;

	/* Other files are not the fuzzer's to read. */
	if (memmem(data, size, "@include", strlen("@include")))
		return 0;
	must(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	conf_init(&conf);
	result = conf_read(&conf, path, err, sizeof(err));
	if (result == 0)
		check_taken(&conf);
	else if (strncmp(err, path, strlen(path)) != 0)
		fuzz_fail("no message that one can act on: \"%s\"", err);
	conf_fini(&conf);
	return 0;
}
