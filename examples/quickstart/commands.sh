sf init
sf plan create --title "Sprint 14"
sf task create --title "Add user invitation API" --plan "Sprint 14"
sf task create --title "Build notification system" --plan "Sprint 14"
