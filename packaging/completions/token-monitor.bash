_token_monitor_completion() {
    local IFS=$'
'
    COMPREPLY=( $( env COMP_WORDS="${COMP_WORDS[*]}" \
                   COMP_CWORD=$COMP_CWORD \
                   _TOKEN_MONITOR_COMPLETE=complete_bash $1 ) )
    return 0
}

complete -o default -F _token_monitor_completion token-monitor
