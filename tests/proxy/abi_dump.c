// SPDX-License-Identifier: BSD-2-Clause
/*
 * Prints the constants of the ABI headers as JSON, for tests in Python: a scripted peer that
 * redeclared them could agree with itself instead of with us.
 */
#include <stdio.h>

#include "abi/link.h"
#include "abi/vhost_user.h"
#include "proto/vu_check.h"

#define NUMBER(name) printf("  \"%s\": %llu,\n", #name, (unsigned long long)(name))
#define SIZE(type)   printf("  \"sizeof_%s\": %zu,\n", #type, sizeof(struct type))
#define FEATURE(name)                                                                              \
	printf("%s\"%s\": %d", first ? "" : ", ", #name, VHOST_USER_PROTOCOL_F_##name), first = 0
#define RULE(name)                                                                                 \
	printf("%s\"%s\": \"%s\"", first ? "" : ", ", #name, vu_rule_text(VU_RULE_##name)),        \
		first = 0

#define ROW(name, id, gate, payload, fds, reply, needs, relay)                                     \
	printf("%s\n  \"%s\": {\"id\": %d, \"gate\": %d, \"payload\": \"%s\", \"fds\": \"%s\", "   \
	       "\"reply\": \"%s\", \"needs\": \"%s\", \"relay\": \"%s\"}",                         \
	       first ? "" : ",", #name, id, VHOST_USER_PROTOCOL_F_##gate, #payload, #fds, #reply,  \
	       #needs, #relay),                                                                    \
		first = 0;

static void features(void)
{
	int first = 1;

	printf("\"protocol_features\": {");
	FEATURE(MQ);
	FEATURE(LOG_SHMFD);
	FEATURE(RARP);
	FEATURE(REPLY_ACK);
	FEATURE(MTU);
	FEATURE(BACKEND_REQ);
	FEATURE(CROSS_ENDIAN);
	FEATURE(CRYPTO_SESSION);
	FEATURE(PAGEFAULT);
	FEATURE(CONFIG);
	FEATURE(BACKEND_SEND_FD);
	FEATURE(HOST_NOTIFIER);
	FEATURE(INFLIGHT_SHMFD);
	FEATURE(RESET_DEVICE);
	FEATURE(INBAND_NOTIFICATIONS);
	FEATURE(CONFIGURE_MEM_SLOTS);
	FEATURE(STATUS);
	FEATURE(SHARED_OBJECT);
	FEATURE(DEVICE_STATE);
	FEATURE(SHMEM);
	printf("},\n");
}

static void rules(void)
{
	int first = 1;

	printf("\"rules\": {");
	RULE(VERSION);
	RULE(FLAGS);
	RULE(UNKNOWN);
	RULE(REFUSED);
	RULE(GATE);
	RULE(SIZE);
	RULE(FDS);
	RULE(INDEX);
	RULE(REGIONS);
	RULE(REGION);
	RULE(OVERLAP);
	RULE(ORDER);
	RULE(FEATURES);
	RULE(VALUE);
	RULE(ADDRESS);
	RULE(FD_KIND);
	RULE(FD_LENGTH);
	RULE(DUPLICATE);
	RULE(REPLY);
	RULE(SPACE);
	printf("},\n");
}

static void numbers(void)
{
	printf("\"constants\": {\n");
	NUMBER(VHOST_USER_VERSION);
	NUMBER(VHOST_USER_REPLY_MASK);
	NUMBER(VHOST_USER_NEED_REPLY_MASK);
	NUMBER(VHOST_USER_FLAGS_KNOWN);
	NUMBER(VHOST_USER_PAYLOAD_MAX);
	NUMBER(VHOST_USER_VRING_INDEX_MASK);
	NUMBER(VHOST_USER_VRING_NOFD_MASK);
	NUMBER(VHOST_USER_TABLE_REGIONS_MAX);
	NUMBER(VHOST_USER_MEM_SLOTS_MAX);
	NUMBER(VHOST_USER_CONFIG_MAX);
	NUMBER(VHOST_USER_PF_CARRIED);
	NUMBER(VHOST_USER_PF_INTERNAL);
	NUMBER(VHOST_F_LOG_ALL_BIT);
	NUMBER(VHOST_USER_F_PROTOCOL_FEATURES_BIT);
	NUMBER(LINK_MAGIC);
	NUMBER(LINK_VERSION);
	NUMBER(LINK_PORT_NAME_MAX);
	NUMBER(LINK_REASON_MAX);
	NUMBER(LINK_PACKET_MAX);
	NUMBER(LINK_FDS_MAX);
	NUMBER(LINK_HELLO);
	NUMBER(LINK_WELCOME);
	NUMBER(LINK_REJECT);
	NUMBER(LINK_BACKEND_UP);
	NUMBER(LINK_BACKEND_DOWN);
	NUMBER(LINK_SESSION_UP);
	NUMBER(LINK_SESSION_DOWN);
	NUMBER(LINK_FRONTEND);
	NUMBER(LINK_BACKEND);
	NUMBER(LINK_RESULT);
	NUMBER(LINK_BACKEND_LOST);
	NUMBER(LINK_RECORD);
	NUMBER(LINK_ANSWERED);
	NUMBER(LINK_KEPT);
	NUMBER(LINK_SILENT);
	NUMBER(LINK_REPLACED);
	NUMBER(LINK_SERVING);
	NUMBER(LINK_HELLO_KEPT);
	NUMBER(LINK_HELLO_REPLACEMENT);
	NUMBER(LINK_RECORD_DATA_MAX);
	NUMBER(LINK_RECORDS_MAX);
	SIZE(link_header);
	SIZE(link_hello);
	SIZE(link_backend_up);
	SIZE(link_text);
	SIZE(vhost_user_header);
	SIZE(vhost_user_mem_table);
	printf("  \"end\": 0\n},\n");
}

int main(void)
{
	int first = 1;

	printf("{\n");
	features();
	rules();
	numbers();
	printf("\"frontend\": {");
	VHOST_USER_FRONTEND_MESSAGES(ROW)
	printf("\n},\n\"backend\": {");
	first = 1;
	VHOST_USER_BACKEND_MESSAGES(ROW)
	printf("\n}\n}\n");
	return 0;
}
