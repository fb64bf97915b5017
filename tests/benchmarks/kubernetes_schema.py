"""The numbers and kinds of the fields of Kubernetes' types, as far as the benchmarks' objects have them."""

from typing import Final

from benchmarks.protobuf import Map, Message, Number, data, micro_time, port, quantity, text, time

_number = Number()
_strings = Map(text)
_quantities = Map(quantity)

_OWNER = Message(
    kind=(1, text),
    name=(3, text),
    uid=(4, text),
    apiVersion=(5, text),
    controller=(6, _number),
    blockOwnerDeletion=(7, _number),
)
_MANAGED = Message(
    manager=(1, text),
    operation=(2, text),
    apiVersion=(3, text),
    time=(4, time),
    fieldsType=(6, text),
    fieldsV1=(7, Message(raw=(1, data))),
    subresource=(8, text),
)
META: Final = Message(
    name=(1, text),
    generateName=(2, text),
    namespace=(3, text),
    uid=(5, text),
    generation=(7, _number),
    creationTimestamp=(8, time),
    deletionTimestamp=(9, time),
    deletionGracePeriodSeconds=(10, _number),
    labels=(11, _strings),
    annotations=(12, _strings),
    ownerReferences=(13, _OWNER),
    finalizers=(14, text),
    managedFields=(17, _MANAGED),
)
_REFERENCE = Message(
    kind=(1, text),
    namespace=(2, text),
    name=(3, text),
    uid=(4, text),
    apiVersion=(5, text),
    resourceVersion=(6, text),
    fieldPath=(7, text),
)

# Pods
_LOCAL_REFERENCE = Message(name=(1, text))
_ITEM = Message(key=(1, text), path=(2, text))
_FIELD = Message(apiVersion=(1, text), fieldPath=(2, text))
_PROJECTION = Message(
    downwardAPI=(2, Message(items=(1, Message(path=(1, text), fieldRef=(2, _FIELD))))),
    configMap=(3, Message(localObjectReference=(1, _LOCAL_REFERENCE), items=(2, _ITEM))),
    serviceAccountToken=(4, Message(expirationSeconds=(2, _number), path=(3, text))),
)
_VOLUME = Message(
    name=(1, text),
    volumeSource=(
        2,
        Message(
            emptyDir=(2, Message()),
            secret=(6, Message(secretName=(1, text), defaultMode=(3, _number))),
            configMap=(19, Message(localObjectReference=(1, _LOCAL_REFERENCE), defaultMode=(3, _number))),
            projected=(26, Message(sources=(1, _PROJECTION), defaultMode=(2, _number))),
        ),
    ),
)
_PROBE = Message(
    handler=(1, Message(httpGet=(2, Message(path=(1, text), port=(2, port), scheme=(4, text))))),
    initialDelaySeconds=(2, _number),
    timeoutSeconds=(3, _number),
    periodSeconds=(4, _number),
    successThreshold=(5, _number),
    failureThreshold=(6, _number),
)
_CONTAINER = Message(
    name=(1, text),
    image=(2, text),
    command=(3, text),
    args=(4, text),
    ports=(6, Message(name=(1, text), containerPort=(3, _number), protocol=(4, text))),
    env=(7, Message(name=(1, text), value=(2, text), valueFrom=(3, Message(fieldRef=(1, _FIELD))))),
    resources=(8, Message(limits=(1, _quantities), requests=(2, _quantities))),
    volumeMounts=(9, Message(name=(1, text), readOnly=(2, _number), mountPath=(3, text))),
    livenessProbe=(10, _PROBE),
    readinessProbe=(11, _PROBE),
    terminationMessagePath=(13, text),
    imagePullPolicy=(14, text),
    securityContext=(
        15,
        Message(
            capabilities=(1, Message(drop=(2, text))),
            runAsNonRoot=(5, _number),
            readOnlyRootFilesystem=(6, _number),
            allowPrivilegeEscalation=(7, _number),
        ),
    ),
    terminationMessagePolicy=(20, text),
)
POD_SPEC: Final = Message(
    volumes=(1, _VOLUME),
    containers=(2, _CONTAINER),
    restartPolicy=(3, text),
    terminationGracePeriodSeconds=(4, _number),
    dnsPolicy=(6, text),
    nodeSelector=(7, _strings),
    serviceAccountName=(8, text),
    serviceAccount=(9, text),
    nodeName=(10, text),
    securityContext=(14, Message(runAsUser=(2, _number), fsGroup=(5, _number))),
    imagePullSecrets=(15, _LOCAL_REFERENCE),
    schedulerName=(19, text),
    tolerations=(
        22,
        Message(key=(1, text), operator=(2, text), effect=(4, text), tolerationSeconds=(5, _number)),
    ),
    priority=(25, _number),
    enableServiceLinks=(30, _number),
    preemptionPolicy=(31, text),
)
_CONTAINER_STATUS = Message(
    name=(1, text),
    state=(2, Message(waiting=(1, Message(reason=(1, text))), running=(2, Message(startedAt=(1, time))))),
    lastState=(3, Message()),
    ready=(4, _number),
    restartCount=(5, _number),
    image=(6, text),
    imageID=(7, text),
    containerID=(8, text),
    started=(9, _number),
)
_ADDRESS = Message(ip=(1, text))
POD: Final = Message(
    metadata=(1, META),
    spec=(2, POD_SPEC),
    status=(
        3,
        Message(
            phase=(1, text),
            conditions=(2, Message(type=(1, text), status=(2, text), lastTransitionTime=(4, time))),
            hostIP=(5, text),
            podIP=(6, text),
            startTime=(7, time),
            containerStatuses=(8, _CONTAINER_STATUS),
            qosClass=(9, text),
            podIPs=(12, _ADDRESS),
            hostIPs=(16, _ADDRESS),
        ),
    ),
)

# What owns pods
_TEMPLATE = Message(metadata=(1, META), spec=(2, POD_SPEC))
_SELECTOR = Message(matchLabels=(1, _strings))
REPLICA_SET: Final = Message(
    metadata=(1, META),
    spec=(2, Message(replicas=(1, _number), selector=(2, _SELECTOR), template=(3, _TEMPLATE))),
    status=(
        3,
        Message(
            replicas=(1, _number),
            fullyLabeledReplicas=(2, _number),
            observedGeneration=(3, _number),
            readyReplicas=(4, _number),
            availableReplicas=(5, _number),
        ),
    ),
)
DEPLOYMENT: Final = Message(
    metadata=(1, META),
    spec=(
        2,
        Message(
            replicas=(1, _number),
            selector=(2, _SELECTOR),
            template=(3, _TEMPLATE),
            strategy=(4, Message(type=(1, text))),
            revisionHistoryLimit=(6, _number),
            progressDeadlineSeconds=(9, _number),
        ),
    ),
    status=(
        3,
        Message(
            observedGeneration=(1, _number),
            replicas=(2, _number),
            updatedReplicas=(3, _number),
            availableReplicas=(4, _number),
            conditions=(
                6,
                Message(
                    type=(1, text),
                    status=(2, text),
                    reason=(4, text),
                    message=(5, text),
                    lastUpdateTime=(6, time),
                    lastTransitionTime=(7, time),
                ),
            ),
            readyReplicas=(7, _number),
        ),
    ),
)

# Nodes
NODE: Final = Message(
    metadata=(1, META),
    spec=(2, Message(podCIDR=(1, text), providerID=(3, text), podCIDRs=(7, text))),
    status=(
        3,
        Message(
            capacity=(1, _quantities),
            allocatable=(2, _quantities),
            conditions=(
                4,
                Message(
                    type=(1, text),
                    status=(2, text),
                    lastHeartbeatTime=(3, time),
                    lastTransitionTime=(4, time),
                    reason=(5, text),
                    message=(6, text),
                ),
            ),
            addresses=(5, Message(type=(1, text), address=(2, text))),
            daemonEndpoints=(6, Message(kubeletEndpoint=(1, Message(Port=(1, _number))))),
            nodeInfo=(
                7,
                Message(
                    machineID=(1, text),
                    systemUUID=(2, text),
                    bootID=(3, text),
                    kernelVersion=(4, text),
                    osImage=(5, text),
                    containerRuntimeVersion=(6, text),
                    kubeletVersion=(7, text),
                    kubeProxyVersion=(8, text),
                    operatingSystem=(9, text),
                    architecture=(10, text),
                ),
            ),
            images=(8, Message(names=(1, text), sizeBytes=(2, _number))),
        ),
    ),
)
LEASE: Final = Message(
    metadata=(1, META),
    spec=(
        2,
        Message(
            holderIdentity=(1, text),
            leaseDurationSeconds=(2, _number),
            acquireTime=(3, micro_time),
            renewTime=(4, micro_time),
            leaseTransitions=(5, _number),
        ),
    ),
)

# The rest
NAMESPACE: Final = Message(
    metadata=(1, META), spec=(2, Message(finalizers=(1, text))), status=(3, Message(phase=(1, text)))
)
SECRET: Final = Message(metadata=(1, META), data=(2, Map(data)), type=(3, text))
CONFIG_MAP: Final = Message(metadata=(1, META), data=(2, _strings))
EVENT: Final = Message(
    metadata=(1, META),
    involvedObject=(2, _REFERENCE),
    reason=(3, text),
    message=(4, text),
    source=(5, Message(component=(1, text), host=(2, text))),
    firstTimestamp=(6, time),
    lastTimestamp=(7, time),
    count=(8, _number),
    type=(9, text),
    reportingComponent=(14, text),
    reportingInstance=(15, text),
)
ENDPOINT_SLICE: Final = Message(
    metadata=(1, META),
    endpoints=(
        2,
        Message(
            addresses=(1, text),
            conditions=(2, Message(ready=(1, _number), serving=(2, _number), terminating=(3, _number))),
            targetRef=(4, _REFERENCE),
            nodeName=(6, text),
            zone=(7, text),
        ),
    ),
    ports=(3, Message(name=(1, text), protocol=(2, text), port=(3, _number))),
    addressType=(4, text),
)
