/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * x86-TSO for Promela: shared words, and per processor a FIFO of stores that have not reached them yet. A load sees the
 * processor's own newest store to the word, else memory; a buffer is emptied a store at a time, at any time; a full
 * barrier waits until it is empty. Nothing else is reordered (Sewell et al., x86-TSO, 2010).
 *
 * TSO_WORDS, TSO_CPUS: how many; TSO_DEPTH: stores a buffer holds.
 */
typedef tso_own {
	byte pending[TSO_WORDS];
	byte newest[TSO_WORDS]
};

byte mem[TSO_WORDS];
tso_own own[TSO_CPUS];
chan store_buffer[TSO_CPUS] = [TSO_DEPTH] of { byte, byte };

inline store(cpu, word, value)
{
	atomic {
		store_buffer[cpu]!word, value;
		own[cpu].pending[word]++;
		own[cpu].newest[word] = value
	}
}

/* The value an expression loads; one load per statement. */
#define LOAD(cpu, word) (own[cpu].pending[word] -> own[cpu].newest[word] : mem[word])

#define FENCE(cpu) (len(store_buffer[cpu]) == 0)

proctype drain(byte cpu)
{
	byte word, value;

end_drain:
	do
	:: atomic {
		store_buffer[cpu]?word, value;
		mem[word] = value;
		own[cpu].pending[word]--;
		if
		:: own[cpu].pending[word] == 0 -> own[cpu].newest[word] = 0
		:: else
		fi;
		word = 0;
		value = 0
	   }
	od
}
