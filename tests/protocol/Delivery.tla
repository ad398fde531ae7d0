---- MODULE Delivery ----
\* One partition, delivered at least once. docs/reference/protocol.md says which code each action
\* stands for, and what is assumed. A mend that is switched off is the fault that it mended.
EXTENDS Naturals, Sequences, FiniteSets, TLC

CONSTANTS
    Nodes,
    Requests,       \* how many are sent
    Longest,        \* the longest log
    Faults,         \* how many crashes, freezes, rebalances and lost acknowledgements
    Cuts,           \* how often the broker loses the end of the log
    LeaseHeld,      \* outcomes are written only while the group's last word is fresh
    LookedBack,     \* outcomes written since the commit are known before anything is begun
    Acknowledged,   \* an offset is done when the broker has its outcome, or the record handed on
    InOrder,        \* the committed offset is the first that is not done
    EpochsApart,    \* what is of another assignment, or of another log, counts for nothing
    CutSeen         \* a commit, a bitmap or an outcome beyond the end of the log is seen as a cut

VARIABLES
    log,      \* Seq of [key, hops, at]: <<id, run>>, how often handed on, when (in appends)
    appends,  \* how many there were: the broker's time
    sent,     \* how many requests
    results,  \* Seq of [key, offset, status]
    owner,    \* of the partition, and since which epoch: [node, epoch]
    commit,   \* [offset, done, since, at]: the bitmap, and since when outcomes may be missing in it
    nodes,    \* [epoch, reading, lease, since, next, done, works] of each; epoch 0: it owns nothing
    epochs,   \* the newest
    cut,      \* whether the log was cut back and its owner has not seen it yet
    lost,     \* keys of what the broker has lost so, for which nobody else answers
    faults,   \* how many are left
    cuts

vars == <<log, appends, sent, results, owner, commit, nodes, epochs, cut, lost, faults, cuts>>

\* Values

Free == [node |-> "nobody", epoch |-> 0]
Gone == [epoch |-> 0, reading |-> FALSE, lease |-> FALSE, since |-> 0, next |-> 1, done |-> {},
         works |-> {}]
End == Len(log) + 1
Least(S) == CHOOSE x \in S : \A y \in S : x <= y
Most(S) == CHOOSE x \in S : \A y \in S : x >= y
First(done) == Least({o \in 1..Cardinality(done) + 1 : o \notin done})
Committed == 1..commit.offset - 1 \union commit.done
Since == {results[i].offset : i \in commit.since + 1..Len(results)}
Owns(n) == owner.node = n /\ owner.epoch = nodes[n].epoch
Reads(n) == nodes[n].epoch # 0 /\ nodes[n].reading
\* How far anybody knows the log to reach.
Known == Most({commit.offset} \union {o + 1 : o \in commit.done \union Since}
              \union {nodes[n].next : n \in {n \in Nodes : Owns(n) /\ Reads(n)}})

Answered(key) == \E i \in 1..Len(results) : results[i].key = key
Ended(o) == \/ Answered(log[o].key) \/ log[o].key \in lost
            \/ \E i \in 1..Len(log) : log[i].key = log[o].key /\ log[i].hops > log[o].hops

With(n, state) == nodes' = [nodes EXCEPT ![n] = state]
\* What was handed to the producer outlives the partition; the rest is forgotten.
Left(n) == {w \in nodes[n].works : w.stage = "written"}
\* Assumed: a cut is seen before the log has grown again as far as it was known to reach, and
\* before anything else goes wrong.
CanAppend == Len(log) < Longest /\ (cut => Known > End + 1)
Appended(key, hops) ==
    /\ CanAppend
    /\ log' = Append(log, [key |-> key, hops |-> hops, at |-> appends + 1])
    /\ appends' = appends + 1
Fault == faults > 0 /\ ~cut /\ faults' = faults - 1

\* Callers

Send ==
    /\ sent < Requests
    /\ Appended(<<sent + 1, 1>>, 0)
    /\ sent' = sent + 1
    /\ UNCHANGED <<results, owner, commit, nodes, epochs, cut, lost, faults, cuts>>

Replay(id) ==
    /\ \E i \in 1..Len(results) : results[i].key = <<id, 1>> /\ results[i].status = "expired"
    /\ \A o \in 1..Len(log) : log[o].key # <<id, 2>>
    /\ ~Answered(<<id, 2>>)
    /\ Appended(<<id, 2>>, 0)
    /\ UNCHANGED <<sent, results, owner, commit, nodes, epochs, cut, lost, faults, cuts>>

\* Partitions

Assign(n) ==
    /\ owner = Free /\ nodes[n].epoch = 0
    /\ owner' = [node |-> n, epoch |-> epochs + 1]
    /\ epochs' = epochs + 1
    /\ With(n, [nodes[n] EXCEPT !.epoch = epochs + 1])
    /\ UNCHANGED <<log, appends, sent, results, commit, cut, lost, faults, cuts>>

\* Where reading begins, and what is done already; with the commit that follows at once.
Begin(n, epoch, works, reached) ==
    LET found == IF LookedBack THEN Committed \union Since ELSE Committed
        beyond == Most({reached} \union found) >= End
        anew == CutSeen /\ beyond
        first == Least({End} \union {o \in 1..Len(log) : log[o].at > commit.at})
        done == IF anew THEN {o \in found : o < first} ELSE found
    IN /\ With(n, [epoch |-> epoch, reading |-> TRUE, lease |-> TRUE, next |-> First(done),
                   since |-> IF anew THEN Len(results) ELSE commit.since,
                   done |-> done, works |-> works])
       /\ commit' = [offset |-> First(done), done |-> {o \in done : o > First(done)},
                     since |-> Len(results), at |-> appends]
       /\ cut' = FALSE

TakeOver(n) ==
    /\ Owns(n) /\ ~nodes[n].reading
    /\ Begin(n, nodes[n].epoch, nodes[n].works, 0)
    /\ UNCHANGED <<log, appends, sent, results, owner, epochs, lost, faults, cuts>>

TakeAnew(n) ==
    /\ Owns(n) /\ Reads(n) /\ cut /\ nodes[n].next > End
    /\ LET epoch == IF EpochsApart THEN epochs + 1 ELSE nodes[n].epoch
       IN /\ Begin(n, epoch, Left(n), nodes[n].next - 1)
          /\ owner' = [node |-> n, epoch |-> epoch]
          /\ epochs' = IF EpochsApart THEN epochs + 1 ELSE epochs
    /\ UNCHANGED <<log, appends, sent, results, lost, faults, cuts>>

Lose(n) ==
    /\ nodes[n].epoch # 0 /\ ~Owns(n)
    /\ With(n, [Gone EXCEPT !.works = Left(n)])
    /\ UNCHANGED <<log, appends, sent, results, owner, commit, epochs, cut, lost, faults, cuts>>

\* Requests

Fetch(n) ==
    LET me == nodes[n] o == me.next IN
    /\ Reads(n) /\ o < End
    /\ With(n, IF o \in me.done THEN [me EXCEPT !.next = o + 1] ELSE
        [me EXCEPT !.next = o + 1, !.works = @ \union {
            [offset |-> o, key |-> log[o].key, hops |-> log[o].hops, epoch |-> me.epoch,
             stage |-> "begun", status |-> "", since |-> 0]}])
    /\ UNCHANGED <<log, appends, sent, results, owner, commit, epochs, cut, lost, faults, cuts>>

\* Any outcome: a deadline, a cancel or a crash of the child may come first.
Run(n, w, status) ==
    /\ w.stage = "begun"
    /\ status = "handed on" => w.hops = 0
    /\ With(n, [nodes[n] EXCEPT
        !.works = (@ \ {w}) \union
            {[w EXCEPT !.stage = "ended", !.status = status, !.since = Len(results)]},
        !.done = IF Acknowledged THEN @ ELSE @ \union {w.offset}])
    /\ UNCHANGED <<log, appends, sent, results, owner, commit, epochs, cut, lost, faults, cuts>>

\* Handed to the producer and appended, which the lease has room for.
Publish(n, w) ==
    /\ w.stage = "ended"
    /\ LeaseHeld => nodes[n].lease
    /\ With(n, [nodes[n] EXCEPT !.works = (@ \ {w}) \union {[w EXCEPT !.stage = "written"]}])
    /\ IF w.status = "handed on"
       THEN Appended(w.key, w.hops + 1) /\ UNCHANGED results
       ELSE /\ results' = Append(results, [key |-> w.key, offset |-> w.offset,
                                           status |-> w.status])
            /\ UNCHANGED <<log, appends>>
    /\ UNCHANGED <<sent, owner, commit, epochs, cut, lost, faults, cuts>>

Acknowledge(n, w) ==
    /\ w.stage = "written"
    /\ LET counts == nodes[n].epoch # 0 /\ (EpochsApart => w.epoch = nodes[n].epoch)
       IN With(n, [nodes[n] EXCEPT
            !.works = {v \in @ : v # w /\ (counts => v.offset # w.offset)},
            !.done = IF counts THEN @ \union {w.offset} ELSE @])
    /\ UNCHANGED <<log, appends, sent, results, owner, commit, epochs, cut, lost, faults, cuts>>

\* The acknowledgement is lost: what is still owed is written again.
GiveBack(n, w) ==
    /\ Fault
    /\ w.stage = "written" /\ w.epoch = nodes[n].epoch
    /\ With(n, [nodes[n] EXCEPT !.works = (@ \ {w}) \union {[w EXCEPT !.stage = "ended"]}])
    /\ UNCHANGED <<log, appends, sent, results, owner, commit, epochs, cut, lost, cuts>>

\* Assumed: a cut is seen within the time by which a commit's own is early.
Commits(n) ==
    LET me == nodes[n]
        offset == IF InOrder THEN First(me.done) ELSE Most({0} \union me.done) + 1
        undecided == {w.since : w \in {w \in me.works : w.stage # "begun"}}
    IN commit' = [offset |-> offset, done |-> {o \in me.done : o > offset},
                  since |-> Most({me.since, Least(undecided \union {Len(results)})}),
                  at |-> IF cut THEN commit.at ELSE appends]

Commit(n) ==
    /\ Owns(n) /\ Reads(n)
    /\ Commits(n)
    /\ With(n, [nodes[n] EXCEPT !.lease = TRUE])
    /\ UNCHANGED <<log, appends, sent, results, owner, epochs, cut, lost, faults, cuts>>

\* Faults

Crash(n) ==
    /\ Fault
    /\ nodes[n] # Gone
    /\ With(n, Gone)
    /\ owner' = IF Owns(n) THEN Free ELSE owner
    /\ UNCHANGED <<log, appends, sent, results, commit, epochs, cut, lost, cuts>>

\* It stands still for longer than the group waits: what it does behind this it does when it wakes.
Freeze(n) ==
    /\ Fault
    /\ Owns(n)
    /\ owner' = Free
    /\ With(n, [nodes[n] EXCEPT !.lease = FALSE])
    /\ UNCHANGED <<log, appends, sent, results, commit, epochs, cut, lost, cuts>>

Rebalance(n) ==
    /\ Fault
    /\ Owns(n) /\ Reads(n)
    /\ Commits(n)
    /\ owner' = Free
    /\ With(n, [Gone EXCEPT !.works = Left(n)])
    /\ UNCHANGED <<log, appends, sent, results, epochs, cut, lost, cuts>>

\* The broker loses what it had acknowledged, and gives the offsets anew.
Cut(length) ==
    /\ cuts > 0 /\ cuts' = cuts - 1
    /\ log' = SubSeq(log, 1, length)
    /\ cut' = (Known > length + 1)
    /\ lost' = lost \union {log[o].key : o \in length + 1..Len(log)}
    /\ UNCHANGED <<appends, sent, results, owner, commit, nodes, epochs, faults>>

\* All of it

Init ==
    /\ log = <<>> /\ appends = 0 /\ sent = 0 /\ results = <<>>
    /\ owner = Free /\ epochs = 0 /\ cut = FALSE /\ lost = {} /\ faults = Faults /\ cuts = Cuts
    /\ commit = [offset |-> 1, done |-> {}, since |-> 0, at |-> 0]
    /\ nodes = [n \in Nodes |-> Gone]

Next ==
    \/ Send
    \/ \E id \in 1..Requests : Replay(id)
    \/ \E length \in 0..Len(log) - 1 : Cut(length)
    \/ \E n \in Nodes :
        \/ Assign(n) \/ TakeOver(n) \/ TakeAnew(n) \/ Lose(n)
        \/ Fetch(n) \/ Commit(n) \/ Crash(n) \/ Freeze(n) \/ Rebalance(n)
        \/ \E w \in nodes[n].works :
            \/ \E status \in {"completed", "expired", "handed on"} : Run(n, w, status)
            \/ Publish(n, w) \/ Acknowledge(n, w) \/ GiveBack(n, w)

Spec == Init /\ [][Next]_vars
Alike == Permutations(Nodes)

\* I1: of what was read at one place there are no two outcomes that differ (unless a log was cut
\* back: then what was written since the commit is run again),
NoneContradicts ==
    lost = {} => \A i, j \in 1..Len(results) :
        results[i].key = results[j].key /\ results[i].offset = results[j].offset
        => results[i].status = results[j].status

\* and the owner takes nothing for done that has neither an outcome nor another place.
NoneSilent ==
    ~cut => \A n \in Nodes : Owns(n) /\ Reads(n) =>
        \A o \in 1..Len(log) :
            o < nodes[n].next \/ o \in nodes[n].done =>
                Ended(o) \/ \E w \in nodes[n].works : w.offset = o /\ w.key = log[o].key

\* I2
NonePassed == ~cut => \A o \in Committed : o < End => Ended(o)

\* I3: what is committed is not begun again.
NoneRepeated ==
    ~cut => \A n \in Nodes : Owns(n) /\ Reads(n) =>
        \A w \in nodes[n].works : w.stage = "begun" => w.offset \notin Committed
====
